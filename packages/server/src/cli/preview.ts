import type { ItemResult, JobEnd, JobHandle } from '@docket/client';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { CommandError } from './failure.ts';
import { follow } from './follow.ts';
import { finish } from './job-end.ts';
import { changesOf } from './lists.ts';
import { type Column, count, countOf, tableOf, textOf, write, writeError, writeJson } from './output.ts';
import { isInteractive, type Session } from './session.ts';

/** Items that are changed without a question where nobody can be asked. */
const mostUnasked = 100;
/** Examples that a preview shows of each kind. */
const shown = 5;

interface Change {
  /** Sends the batch; with `dryRun`, to be applied later as it is then. */
  send(options: { dryRun: boolean }): Promise<JobHandle>;
  /** Only show what would happen. */
  dryRun?: boolean | undefined;
  /** Do not ask. */
  yes?: boolean | undefined;
  detach?: boolean | undefined;
}

/**
 * Carries out a change of many records: shows first what it would do, asks, and applies exactly what was shown. Throws CommandError
 * where the answer is no, and where it is large and nobody can be asked. Sets the exit code.
 */
export async function carryOut(session: Session, { send, dryRun = false, yes = false, detach }: Change): Promise<void> {
  if (yes && !dryRun) return await finish(session, await send({ dryRun: false }), { what: 'applying', detach });
  const preview = await send({ dryRun: true });
  const end = await follow(session, preview, 'previewing');
  if (end.status !== 'completed') throw new CommandError(`The preview ended as ${end.status}. Nothing was changed.`);
  if (dryRun) return await tellPreview(session, preview, end);
  writeError(await describePreview(preview, end));
  if (end.summary.succeeded === 0) {
    process.exitCode = exitCodeOf(end);
    if (session.json) await writeJson(end);
    return writeError('Nothing was changed.\n');
  }
  await confirm(end.summary.succeeded);
  await finish(session, await preview.apply(), { what: 'applying', detach });
}

/** Throws CommandError unless the change is wanted. */
export async function confirm(items: number): Promise<void> {
  if (!isInteractive()) {
    if (items <= mostUnasked) return;
    throw new CommandError(
      `${countOf(items, 'item')} would be changed, and nobody can be asked. Give --yes to do so. Nothing was changed.`,
    );
  }
  const { default: ask } = await import('@inquirer/confirm');
  const message = `Change ${countOf(items, 'item')}?`;
  const wanted = await ask({ message, default: false }, { output: process.stderr }).catch(() => false);
  if (!wanted) throw new CommandError('Nothing was changed.');
}

async function tellPreview({ json }: Session, preview: JobHandle, end: JobEnd): Promise<void> {
  process.exitCode = exitCodeOf(end);
  if (json) return await writeJson({ ...end, dryRun: true, sample: await take(preview, 'succeeded') });
  await write(await describePreview(preview, end));
  if (end.summary.succeeded > 0 && process.exitCode !== exitCodes.error)
    writeError(`Apply exactly this: docket jobs apply ${end.jobId}\n`);
}

async function describePreview(preview: JobHandle, { summary }: JobEnd): Promise<string> {
  const { total, succeeded, failed } = summary;
  if (total === 0) return 'No record matches.\n';
  const lines = [
    `${countOf(total, 'item')}: ${count(succeeded)} would be applied${failed > 0 ? `, ${count(failed)} would fail` : ''}.\n`,
  ];
  if (succeeded > 0) lines.push(`\n${tableOf(await take(preview, 'succeeded'), changeColumns)}`);
  if (failed > 0) lines.push(`\n${tableOf(await take(preview, 'failed'), failureColumns)}`);
  return `${lines.join('')}\n`;
}

async function take(preview: JobHandle, status: 'succeeded' | 'failed'): Promise<ItemResult<unknown>[]> {
  const some: ItemResult<unknown>[] = [];
  for await (const result of preview.results({ status })) {
    some.push(result);
    if (some.length === shown) break;
  }
  return some;
}

const changeColumns: Column<ItemResult<unknown>>[] = [
  ['ID', ({ id }) => id],
  ['CHANGE', changeOf],
];

/** `status: "New" -> "Active"` */
function changeOf({ changed, before, after = {} }: ItemResult<unknown>): string {
  if (changed === false) return 'is so already';
  return before ? changesOf(before, after) : `new: ${textOf(after)}`;
}

const failureColumns: Column<ItemResult<unknown>>[] = [
  ['INDEX', ({ index }) => index],
  ['ID', ({ id }) => id],
  ['REF', ({ ref }) => ref],
  ['CODE', ({ error }) => error?.code],
  ['MESSAGE', ({ error }) => error?.message],
];
