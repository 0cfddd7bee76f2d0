import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuidv7 } from 'uuid';
import type { Item, Limits } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import { type ItemResult, notProcessed } from '../domain/decide.ts';
import { isTerminal, type Job, type JobOperation, type Summary } from '../domain/job.ts';
import { chunkItems, countResults, insertChunk } from '../storage/chunk-store.ts';
import type { Pool, Transaction } from '../storage/database.ts';
import { failureKind } from '../storage/errors.ts';
import { findJob, insertJob, makeRunnable, type NewJob } from '../storage/job-store.ts';
import { claimKey, findUsedKey, storeKey, type TakenKey } from '../storage/key-store.ts';
import { raw, sql } from '../storage/sql.ts';
import type { Admission } from './admission.ts';
import { applyItems } from './apply-items.ts';
import { insertItemChunks, insertSelectionChunks, resolveContent } from './batch-content.ts';
import { changedBy, type TellEffect } from './effects.ts';
import type { DecidedItems, Submission, SubmitOutcome } from './engine.ts';
import type { JobReader } from './job-reader.ts';
import { findMount, type MountedCollection } from './mounts.ts';
import { isRepeating, planBatch, type Route } from './plan.ts';
import type { Meter } from './usage.ts';

export interface SubmitSettings {
  syncBudgetMs: number;
  jobTtlSeconds: number;
  idempotencyTtlSeconds: number;
}

export interface SubmitDeps {
  pool: Pool;
  mounts: ReadonlyMap<string, MountedCollection>;
  limits: Limits;
  settings: SubmitSettings;
  jobs: JobReader;
  admission: Admission;
  tellEffect: TellEffect;
  meter: Meter;
  onDecided: (items: DecidedItems) => void;
}

/** A request that another one with the same idempotency key has answered already. */
class KeyUsed extends Error {
  readonly jobId: string;

  constructor(jobId: string) {
    super('The idempotency key was used before.');
    this.jobId = jobId;
  }
}

/** Applies a batch within the request, or takes it as a job; see `Engine.submit`. */
export async function submit(deps: SubmitDeps, submission: Submission): Promise<SubmitOutcome> {
  const mount = findMount(deps.mounts, submission.tenantId, submission.collection);
  try {
    // why: once a batch was applied, its selection may hold other records; its answer stays the same
    if (submission.content.kind === 'selection') await replayIfUsed(deps.pool, submission);
    const { items, count } = await resolveContent(deps, mount, submission);
    const route = planBatch(submission.options, submission.prefer, count, deps.limits);
    if (route.kind === 'job') return await submitAsJob(deps, mount, submission, { items, count }, route);
    return await submitSynchronously(deps, mount, submission, items ?? []);
  } catch (error) {
    if (error instanceof KeyUsed) return await replay(deps, submission, error.jobId);
    throw error;
  }
}

/** Takes the request's key within its transaction, so that key and effect are kept or lost together. */
async function takeKey(tx: Transaction, { tenantId, idempotency }: Submission): Promise<void> {
  if (!idempotency) return;
  const claim = await claimKey(tx, tenantId, idempotency.key);
  if (claim.state !== 'free') throw takenKey(claim, idempotency.payloadHash);
}

async function replayIfUsed(pool: Pool, { tenantId, idempotency }: Submission): Promise<void> {
  const used = idempotency && (await findUsedKey(pool, tenantId, idempotency.key));
  if (used) throw takenKey(used, idempotency.payloadHash);
}

function takenKey(claim: TakenKey, payloadHash: string): Error {
  if (claim.state === 'in_progress') return keyInProgress();
  if (claim.payloadHash === payloadHash) return new KeyUsed(claim.jobId);
  return keyReused();
}

export function keyInProgress(): RequestError {
  const message = 'A request with this idempotency key is being processed. Try again shortly.';
  return new RequestError('idempotency_in_progress', message, { retryAfter: 1 });
}

export function keyReused(): RequestError {
  const message = 'This idempotency key was used with another request. Use a new key for a new request.';
  return new RequestError('idempotency_key_reused', message);
}

async function keepKey(
  tx: Transaction,
  { settings }: SubmitDeps,
  submission: Submission,
  jobUuid: string,
): Promise<void> {
  if (!submission.idempotency) return;
  await storeKey(tx, {
    tenantId: submission.tenantId,
    ...submission.idempotency,
    jobUuid,
    ttlSeconds: settings.idempotencyTtlSeconds,
  });
}

/** Counts the batch. To be sent right before COMMIT. */
function meter(
  deps: SubmitDeps,
  tx: Transaction,
  { tenantId, single = false, options }: Submission,
  items: number,
): Promise<void> {
  return deps.meter(tx, tenantId, { items, single, dryRun: options.dryRun });
}

/** The part of a job's row that its submission says. */
export function newJob(
  deps: Pick<SubmitDeps, 'settings'>,
  submission: Omit<Submission, 'content' | 'idempotency'>,
  id: string,
): Omit<NewJob, 'status' | 'summary' | 'synchronous' | 'ordered' | 'representation'> {
  const { options, operation } = submission;
  const jobOperation: JobOperation = submission.single ? `${operation}_one` : operation;
  return {
    id,
    tenantId: submission.tenantId,
    collection: submission.collection,
    operation: jobOperation,
    operationName: submission.operationName ?? null,
    itemOperation: operation,
    priority: options.priority,
    label: options.label ?? null,
    dryRun: options.dryRun,
    atomic: options.atomic,
    maxErrors: options.maxErrors ?? null,
    actor: submission.actor,
    parentId: null,
    traceparent: submission.traceparent ?? null,
    callbackUrl: options.callbackUrl ?? null,
    ttlSeconds: deps.settings.jobTtlSeconds,
  };
}

const lockSliceMs = 2_000;
const lastAttemptMs = 1_000;

interface Attempt {
  /** Time that this attempt may wait for a lock, in milliseconds. */
  patienceMs: number;
  onlyAvailable: boolean;
  isolate: boolean;
  /** Apply nothing: the time has passed, and even the free records could not be had. */
  giveUp: boolean;
}

async function submitSynchronously(
  deps: SubmitDeps,
  mount: MountedCollection,
  submission: Submission,
  items: readonly Item[],
): Promise<SubmitOutcome> {
  const deadline = performance.now() + deps.settings.syncBudgetMs;
  const attempt: Attempt = { patienceMs: 0, onlyAvailable: false, isolate: false, giveUp: false };
  for (let tries = 1; ; tries++) {
    const left = submission.signal?.aborted ? 0 : deadline - performance.now();
    if (left <= 0 && !attempt.onlyAvailable) {
      if (submission.options.onDeadline === 'continue') {
        return await submitAsJob(
          deps,
          mount,
          submission,
          { items, count: items.length },
          { kind: 'job', waitMs: 0, representation: true },
        );
      }
      attempt.onlyAvailable = true;
    }
    // why: locks are let go between the slices, so that one stuck record does not make others wait for the whole budget
    attempt.patienceMs = Math.ceil(attempt.onlyAvailable ? lastAttemptMs : Math.min(left, lockSliceMs));
    try {
      const outcome = await applyOnce(deps, mount, submission, items, attempt);
      deps.onDecided({ collection: submission.collection, ...outcome.job.summary });
      return outcome;
    } catch (error) {
      const kind = failureKind(error);
      if (kind === 'data' && !attempt.isolate) attempt.isolate = true;
      else if ((kind === 'timeout' || kind === 'conflict') && attempt.onlyAvailable && !attempt.giveUp)
        attempt.giveUp = true;
      else if (kind === 'timeout' && !attempt.onlyAvailable) continue;
      else if (kind === 'conflict' && !attempt.onlyAvailable)
        await delay(Math.random() * Math.min(20 * 2 ** tries, 500));
      else throw error;
    }
  }
}

async function applyOnce(
  deps: SubmitDeps,
  mount: MountedCollection,
  submission: Submission,
  items: readonly Item[],
  attempt: Attempt,
): Promise<SubmitOutcome> {
  const { options } = submission;
  const jobUuid = uuidv7();
  const representation = options.return !== 'minimal';
  return await deps.pool.transaction(async (tx) => {
    void boundWaits(tx, attempt.patienceMs);
    await takeKey(tx, submission);
    const { results, written } = attempt.giveUp
      ? { results: items.map((item, index) => notProcessed(index, item, pastDeadline)), written: undefined }
      : await applyItems(tx, {
          ...submission,
          mount,
          jobUuid,
          items,
          firstIndex: 0,
          dryRun: options.dryRun,
          atomic: options.atomic,
          representation,
          failuresAllowed: options.maxErrors ?? Number.POSITIVE_INFINITY,
          onlyAvailable: attempt.onlyAvailable,
          isolate: attempt.isolate,
          keyTtlSeconds: deps.settings.idempotencyTtlSeconds,
        });
    const summary: Summary = { total: items.length, ...countResults(results) };
    const head = newJob(deps, submission, jobUuid);
    const [job] = await Promise.all([
      insertJob(tx, { ...head, status: 'completed', summary, synchronous: true, ordered: false, representation }),
      items.length > 0 &&
        insertChunk(tx, { tenantId: submission.tenantId, jobUuid, chunkNo: 0, firstIndex: 0, items, results }),
      keepKey(tx, deps, submission, jobUuid),
      written,
      deps.tellEffect(
        tx,
        { tenantId: submission.tenantId, jobUuid },
        { changed: changedBy(head, results), mayEnd: options.callbackUrl !== undefined },
      ),
      meter(deps, tx, submission, items.length),
      tx.commit(),
    ]);
    return { kind: 'results', job, results, replayed: false };
  });
}

const pastDeadline = {
  code: 'deadline_exceeded',
  message: 'Not processed: the time for a synchronous batch had passed.',
  field: null,
} as const;

/** Bounds what the transaction may wait for. Need not be awaited: the statements behind it fail when it does. */
function boundWaits(tx: Transaction, patienceMs: number): Promise<unknown> {
  const lockTimeout = `${Math.max(1, patienceMs)}ms`;
  const statementTimeout = `${patienceMs + lockSliceMs}ms`;
  return tx.query(sql`
    select set_config('lock_timeout', ${lockTimeout}, true), set_config('statement_timeout', ${statementTimeout}, true)`);
}

type JobRoute = Extract<Route, { kind: 'job' }>;

async function submitAsJob(
  deps: SubmitDeps,
  mount: MountedCollection,
  submission: Submission,
  { items, count }: { items: readonly Item[] | undefined; count: number },
  route: JobRoute,
): Promise<SubmitOutcome> {
  const jobUuid = uuidv7();
  const { tenantId, options } = submission;
  const repeating = items !== undefined && isRepeating(items);
  // why: nothing of a preview is written, so an item that repeats an id sees the one before only within a chunk
  const perChunk = repeating && options.dryRun ? items.length : chunkItems;
  const { job, sample } = await deps.pool.transaction(async (tx) => {
    // why: a selection is read page by page, and all of it must be of one moment
    if (!items) void tx.query(raw('set transaction isolation level repeatable read'));
    const checking = deps.admission.check(tx, tenantId, { jobs: count > 0 ? 1 : 0, items: count });
    // why: a repeated request gets its answer, however much waits
    checking.catch(() => undefined);
    await takeKey(tx, submission);
    const seen = await checking;
    const { total, first } = items
      ? await insertItemChunks(tx, { tenantId, jobUuid, items, perChunk })
      : await insertSelectionChunks(tx, mount, submission, jobUuid);
    const shown = options.dryRun
      ? await previewFirst(deps, tx, { mount, submission, jobUuid, items: first })
      : undefined;
    await deps.admission.confirm(tx, tenantId, { jobs: total > 0 ? 1 : 0, items: total }, seen);
    const [inserted] = await Promise.all([
      insertJob(tx, {
        ...newJob(deps, submission, jobUuid),
        status: total === 0 ? 'completed' : 'pending',
        summary: { total, succeeded: 0, failed: 0, notProcessed: 0 },
        synchronous: false,
        ordered: options.maxErrors !== undefined || repeating,
        representation: options.return === undefined ? route.representation : options.return === 'representation',
      }),
      total > 0 && makeRunnable(tx, tenantId, jobUuid, options.priority),
      total === 0 && deps.tellEffect(tx, { tenantId, jobUuid }, { mayEnd: true }),
      keepKey(tx, deps, submission, jobUuid),
      meter(deps, tx, submission, total),
      tx.commit(),
    ]);
    return { job: inserted, sample: shown };
  });
  const outcome = await answerForJob(deps, submission, job, route.waitMs, false);
  return sample && outcome.kind === 'job' ? { ...outcome, sample } : outcome;
}

/** Results that the answer to a large dry run shows at once. */
const sampleItems = 100;

async function previewFirst(
  deps: SubmitDeps,
  tx: Transaction,
  params: { mount: MountedCollection; submission: Submission; jobUuid: string; items: readonly Item[] },
): Promise<ItemResult[]> {
  const { submission, items, ...rest } = params;
  const { results } = await applyItems(tx, {
    ...submission,
    ...rest,
    items: items.slice(0, sampleItems),
    firstIndex: 0,
    dryRun: true,
    atomic: false,
    representation: submission.options.return === 'representation',
    failuresAllowed: submission.options.maxErrors ?? Number.POSITIVE_INFINITY,
    onlyAvailable: false,
    isolate: false,
    keyTtlSeconds: deps.settings.idempotencyTtlSeconds,
  });
  return results;
}

/** The job itself, or its results when it ends within the time that the caller is ready to wait. */
async function answerForJob(
  deps: SubmitDeps,
  { tenantId, signal }: Submission,
  job: Job,
  waitMs: number,
  replayed: boolean,
): Promise<SubmitOutcome> {
  if (waitMs === 0 && !(job.summary.total === 0 && isTerminal(job.status))) return { kind: 'job', job, replayed };
  const ended = await deps.jobs.wait(tenantId, job.jobId, waitMs, signal);
  if (!isTerminal(ended.status)) return { kind: 'job', job: ended, replayed };
  return { kind: 'results', job: ended, results: await resultsInAnswer(deps, tenantId, ended), replayed };
}

async function resultsInAnswer(deps: SubmitDeps, tenantId: string, job: Job): Promise<ItemResult[] | null> {
  if (job.summary.total > deps.limits.syncMaxItems) return null;
  return await deps.jobs.allResults(tenantId, job.jobId);
}

async function replay(deps: SubmitDeps, submission: Submission, jobId: string): Promise<SubmitOutcome> {
  const { tenantId } = submission;
  const job = await findJob(deps.pool, tenantId, jobId);
  if (!job) {
    throw new RequestError('idempotency_key_reused', 'The job of this idempotency key was deleted. Use a new key.', {
      extra: { jobId },
    });
  }
  if (job.synchronous) {
    return { kind: 'results', job, results: await resultsInAnswer(deps, tenantId, job), replayed: true };
  }
  const route = planBatch(submission.options, submission.prefer, job.summary.total, deps.limits);
  const outcome = await answerForJob(deps, submission, job, route.kind === 'job' ? route.waitMs : 0, true);
  if (outcome.kind !== 'job' || !job.dryRun) return outcome;
  const { items: sample } = await deps.jobs.results({ tenantId, jobId, limit: sampleItems });
  return { ...outcome, sample };
}
