import type { JobEnd, JobHandle } from '@docket/client';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { follow } from './follow.ts';
import { count, countOf, paint, textOf, write, writeError, writeJson } from './output.ts';
import type { Session } from './session.ts';

/** Follows a batch to its end and tells how it went; or, detached, where to find it. Sets the exit code. */
export async function finish<Row>(
  session: Session,
  handle: JobHandle<Row>,
  { what, detach = false }: { what: string; detach?: boolean | undefined },
): Promise<void> {
  if (detach && !handle.end) {
    if (session.json) await writeJson(await handle.get());
    else await write(`${handle.jobId} goes on. Follow it: docket jobs watch ${handle.jobId}\n`);
    return;
  }
  await tellEnd(session, await follow(session, handle, what));
}

/** Prints how a job ended, and sets the exit code. */
async function tellEnd({ json }: Session, end: JobEnd): Promise<void> {
  process.exitCode = exitCodeOf(end);
  if (json) return await writeJson(end);
  await write(inWords(end));
  if (end.summary.failed > 0) writeError(`What failed, and why: docket results ${end.jobId} --failed\n`);
}

function inWords({ jobId, status, summary, error }: JobEnd): string {
  const colour = { [exitCodes.ok]: 'green', [exitCodes.error]: 'red' } as const;
  const state = paint(colour[exitCodeOf({ status, summary }) as keyof typeof colour] ?? 'yellow', status);
  const { message } = (error ?? {}) as { message?: string };
  const why = message === undefined ? '' : ` ${textOf(message)}`;
  return `${jobId} ${state}: ${summaryOf(summary)}.${why}\n`;
}

/** `3 items: 2 succeeded, 1 failed` */
export function summaryOf({ total, succeeded, failed, notProcessed }: JobEnd['summary']): string {
  const parts = [
    `${count(succeeded)} succeeded`,
    ...(failed > 0 ? [`${count(failed)} failed`] : []),
    ...(notProcessed > 0 ? [`${count(notProcessed)} not processed`] : []),
  ];
  return `${countOf(total, 'item')}: ${parts.join(', ')}`;
}
