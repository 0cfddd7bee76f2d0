import { v7 as uuidv7 } from 'uuid';
import type { Item } from '../domain/batch.ts';
import { itemCodes, RequestError, retryableItemCodes } from '../domain/codes.ts';
import type { ItemResult } from '../domain/decide.ts';
import { parseJobId } from '../domain/ids.ts';
import { isTerminal, type Job, type JobOperation } from '../domain/job.ts';
import { passesFilter, type ResultFilter } from '../domain/result-filter.ts';
import { undoItem } from '../domain/undo.ts';
import { changesOfJob } from '../storage/change-store.ts';
import { chunkItems, insertChunk, readResults, type StoredChunk } from '../storage/chunk-store.ts';
import type { Pool, Transaction } from '../storage/database.ts';
import { findFollowUp, insertJob, lockParent, makeRunnable, type RetryChoice } from '../storage/job-store.ts';
import type { Admission } from './admission.ts';
import type { TellEffect } from './effects.ts';
import type { Caller } from './engine.ts';
import type { JobReader } from './job-reader.ts';
import type { Meter } from './usage.ts';

/*
 * Jobs that are made from the chunks of an ended one: a preview applied, what failed tried again, what was done undone. Each
 * kind is made once; asked again, the same job is given back.
 */

export interface FollowUpDeps {
  pool: Pool;
  jobs: JobReader;
  jobTtlSeconds: number;
  admission: Admission;
  tellEffect: TellEffect;
  meter: Meter;
}

type ParentChunk = StoredChunk & { items: Item[] };

interface FollowUp {
  operation: Extract<JobOperation, 'apply' | 'retry' | 'revert'>;
  retryOnly?: RetryChoice;
  /** Throws where the job is none that this can be made from. It has ended. */
  check(parent: Job): void;
  /** Results without which a chunk of the old job has nothing for the new one. */
  from: ResultFilter;
  /** What the new job does for a chunk of the old one. */
  itemsOf(tx: Transaction, parent: Job, chunk: ParentChunk): Item[] | Promise<Item[]>;
  /** Why there is no job where there would be nothing in it; without it, an empty job completes at once. */
  nothingToDo?: string;
}

/**
 * Applies exactly what a preview showed: each item only if its record is as the preview saw it, and items that failed there fail
 * here for the same reason.
 */
export function applyPreview(deps: FollowUpDeps, caller: Caller, jobId: string): Promise<Job> {
  return makeFollowUp(deps, caller, jobId, {
    operation: 'apply',
    check(preview) {
      if (!preview.dryRun) throw conflict('Only a dry run can be applied; this job has changed records already.');
      if (preview.status !== 'completed') {
        throw conflict(
          `The dry run has ended as ${preview.status} and did not show all of its effect. Make a new one.`,
        );
      }
    },
    from: {},
    itemsOf: (_, __, { items, results }) =>
      items.map((item, offset) => asPreviewed(item, results[offset] as ItemResult)),
  });
}

/** Tries the items again that did not succeed, or only those that may succeed as they are. */
export function retryJob(deps: FollowUpDeps, caller: Caller, jobId: string, only: RetryChoice): Promise<Job> {
  const from = { codes: only === 'failed' ? itemCodes : retryableItemCodes };
  return makeFollowUp(deps, caller, jobId, {
    operation: 'retry',
    retryOnly: only,
    check(parent) {
      if (parent.dryRun) throw conflict('A dry run is not retried: it changes nothing. Send the batch again.');
    },
    from,
    itemsOf: (_, __, { items, results }) =>
      items
        .filter((_, offset) => passesFilter(results[offset] as ItemResult, from))
        .map(({ verdict: _, ...item }) => item),
    nothingToDo:
      only === 'failed'
        ? 'Every item of the job has succeeded; there is nothing to retry.'
        : 'No item of the job may succeed as it is; mend them and send them again, or retry all with `only: "failed"`.',
  });
}

/** Gives the records of a job the values back that they had before it, except those that were changed since. */
export function revertJob(deps: FollowUpDeps, caller: Caller, jobId: string): Promise<Job> {
  return makeFollowUp(deps, caller, jobId, {
    operation: 'revert',
    check(parent) {
      if (parent.dryRun) throw conflict('A dry run changed nothing; there is nothing to revert.');
      if (parent.itemOperation === 'create') {
        throw conflict('The job created records; a creation is not undone, because others may refer to the record.');
      }
    },
    from: { status: 'succeeded' },
    itemsOf: (tx, parent, chunk) => undoChunk(tx, caller.tenantId, parent, chunk),
    nothingToDo: 'The job changed no record; there is nothing to revert.',
  });
}

/** Undoes the records whose last change by the job is in this chunk: so each is undone once, whole. */
async function undoChunk(tx: Transaction, tenantId: string, parent: Job, chunk: StoredChunk): Promise<Item[]> {
  const last = new Map<string, ItemResult>();
  for (const result of chunk.results) if (result.changed && !result.replayed) last.set(result.id, result);
  if (last.size === 0) return [];
  const changes = await changesOfJob(tx, {
    tenantId,
    collection: parent.collection,
    jobUuid: parseJobId(parent.jobId) as string,
    ids: [...last.keys()],
  });
  const byRecord = Map.groupBy(changes, (change) => change.id);
  return [...last].flatMap(([id, result]) => {
    const own = byRecord.get(id) ?? [];
    return own.at(-1)?.index === result.index ? [undoItem(own)] : [];
  });
}

async function makeFollowUp(
  { pool, jobs, jobTtlSeconds, admission, tellEffect, meter }: FollowUpDeps,
  { tenantId, actor }: Caller,
  jobId: string,
  followUp: FollowUp,
): Promise<Job> {
  const { operation, retryOnly, check, nothingToDo } = followUp;
  check(endedJob(await jobs.get(tenantId, jobId)));
  const parentUuid = parseJobId(jobId) as string;
  const jobUuid = uuidv7();
  const made = await pool.transaction(async (tx) => {
    const parent = await lockParent(tx, tenantId, parentUuid);
    if (!parent) return undefined;
    const existing = await findFollowUp(tx, { tenantId, parentUuid, operation, retryOnly });
    if (existing) return existing;
    const { job } = parent;
    const seen = await admission.check(tx, tenantId, { jobs: 1, items: 0 });
    const total = await insertChunks(tx, { tenantId, jobUuid }, itemParts(tx, tenantId, job, followUp));
    if (total === 0 && nothingToDo !== undefined) throw conflict(nothingToDo);
    await admission.confirm(tx, tenantId, { jobs: 1, items: total }, seen);
    const [inserted] = await Promise.all([
      insertJob(tx, {
        id: jobUuid,
        tenantId,
        collection: job.collection,
        operation,
        // why: the caller's name says what the job did, not that it is undone
        operationName: operation === 'revert' ? null : job.operationName,
        itemOperation: job.itemOperation,
        status: total === 0 ? 'completed' : 'pending',
        priority: job.priority,
        label: job.label,
        dryRun: false,
        atomic: job.atomic && operation !== 'revert',
        representation: job.representation,
        synchronous: false,
        ordered: parent.ordered && operation !== 'revert',
        maxErrors: null,
        actor,
        parentId: parentUuid,
        ...(retryOnly === undefined ? {} : { retryOnly }),
        traceparent: null,
        callbackUrl: null,
        summary: { total, succeeded: 0, failed: 0, notProcessed: 0 },
        ttlSeconds: jobTtlSeconds,
      }),
      total > 0 && makeRunnable(tx, tenantId, jobUuid, job.priority),
      total === 0 && tellEffect(tx, { tenantId, jobUuid }, { mayEnd: true }),
      meter(tx, tenantId, { items: total, single: false, dryRun: false }),
      tx.commit(),
    ]);
    return inserted;
  });
  // why: deleted in between; this answers with the error of an unknown job
  return made ?? (await jobs.get(tenantId, jobId));
}

/** The new items, for one chunk of the old job at a time; the next one is read meanwhile. */
async function* itemParts(
  tx: Transaction,
  tenantId: string,
  parent: Job,
  { from, itemsOf }: FollowUp,
): AsyncGenerator<Item[]> {
  const jobUuid = parseJobId(parent.jobId) as string;
  const read = (fromChunk: number) => {
    const reading = readResults(tx, { ...from, tenantId, jobUuid, fromChunk, withItems: true });
    // why: it is awaited later, and not at all when the work on the chunk before fails
    reading.catch(() => undefined);
    return reading;
  };
  for (let chunk = await read(0); chunk; ) {
    const items = itemsOf(tx, parent, chunk);
    const next = read(chunk.chunkNo + 1);
    yield await items;
    chunk = await next;
  }
}

/** Fills chunks with the items as they come. Gives back how many there were. */
async function insertChunks(
  tx: Transaction,
  job: { tenantId: string; jobUuid: string },
  parts: AsyncIterable<Item[]>,
): Promise<number> {
  let firstIndex = 0;
  let chunkNo = 0;
  let waiting: Item[] = [];
  let storing: Promise<void> = Promise.resolve();
  const insert = async (items: Item[]) => {
    await storing;
    storing = insertChunk(tx, { ...job, chunkNo, firstIndex, items });
    // why: it is awaited with the next chunk
    storing.catch(() => undefined);
    chunkNo += 1;
    firstIndex += items.length;
  };
  for await (const part of parts) {
    waiting.push(...part);
    for (; waiting.length >= chunkItems; waiting = waiting.slice(chunkItems))
      await insert(waiting.slice(0, chunkItems));
  }
  if (waiting.length > 0) await insert(waiting);
  await storing;
  return firstIndex;
}

function endedJob(job: Job): Job {
  if (isTerminal(job.status)) return job;
  throw new RequestError('job_conflict', `The job is ${job.status} and has not ended yet. Wait for it, or cancel it.`, {
    retryAfter: 1,
  });
}

function conflict(message: string): RequestError {
  return new RequestError('job_conflict', message);
}

/** The item, guarded by what the preview saw of its record. */
function asPreviewed(item: Item, result: ItemResult): Item {
  const { version: _, ...kept } = item;
  if (result.status !== 'succeeded') {
    return {
      ...kept,
      verdict: result.error ?? { code: 'stopped', message: 'Not processed in the dry run.', field: null },
    };
  }
  if (result.version !== undefined && result.before !== null) {
    return { ...kept, version: result.changed ? result.version - 1 : result.version };
  }
  return result.before ? { ...kept, expect: result.before } : kept;
}
