import {
  type BatchOperation,
  type BatchOptions,
  type Collection,
  type Job,
  type Json,
  outcomeOf,
  parseBatch,
  type SubmitOutcome,
} from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { idempotencyOf } from './idempotency.ts';
import { presentJobStatus, presentResult, replyAccepted } from './job-view.ts';
import { type Preferences, parsePrefer, preferenceApplied } from './prefer.ts';
import { newId } from './records.ts';
import { takeCallback } from './webhook-params.ts';

interface Batch {
  collection: Collection<never>;
  operation: BatchOperation;
  /** One of the shapes that `parseBatch` accepts. */
  body: Json | undefined;
}

/**
 * Submits a batch as its options and preferences ask, and gives the answer: 200 with the results, 202 with the job, or the 422
 * of an atomic batch that was not applied.
 */
export async function answerBatch(
  deps: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  batch: Batch,
): Promise<object> {
  const { engine } = deps;
  const { collection, operation } = batch;
  const { content, options: given } = readBatch(deps, request, batch);
  const options = await takeCallback(deps, request, given, '/options/callbackUrl');
  const preferences = effectivePreferences(parsePrefer(request.headers.prefer), options);
  const outcome = await engine.submit({
    ...request.caller,
    collection: collection.name,
    operation,
    content,
    options: { ...options, return: preferences.return ?? options.return },
    ...(preferences.respondAsync || preferences.wait !== undefined
      ? { prefer: { respondAsync: preferences.respondAsync, waitSeconds: preferences.wait } }
      : {}),
    ...idempotencyOf(request, engine.limits.textLength, [operation, collection.name]),
    ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
    signal: deps.closing,
  });
  reply.header('vary', 'Prefer');
  const applied = preferenceApplied(takenIntoAccount(preferences, outcome));
  if (applied !== undefined) reply.header('preference-applied', applied);
  if (outcome.replayed) reply.header('idempotency-replayed', 'true');
  if (outcome.kind === 'job') {
    const sample = outcome.sample?.map((result) => presentResult(result, collection.idField));
    return { ...replyAccepted(reply, outcome.job), ...(sample ? { sample } : {}) };
  }
  const { job, replayed } = outcome;
  const results = outcome.results?.map((result) => presentResult(result, collection.idField));
  if (results && isFailedAtomic(job)) throw atomicFailure(job, results, replayed);
  return presentAnswer(job, { results, operation, withJob: options.returnJobId });
}

/** Reads a batch in any of its shapes. Throws the errors of `parseBatch`. */
export function readBatch({ engine }: Deps, request: FastifyRequest, { collection, operation, body }: Batch) {
  if (body === undefined) {
    const message = 'The request has no body. Send JSON.';
    throw new ApiError('malformed_body', message, { errors: [{ pointer: '', message }] });
  }
  return parseBatch({
    collection,
    operation,
    body,
    bodyBytes: request.bodyBytes,
    limits: engine.limits,
    newId: () => newId(collection),
  });
}

/** What is said in the body counts more than the header. */
function effectivePreferences(asked: Preferences, options: BatchOptions): Preferences {
  const explicit = options.mode !== 'auto' || options.waitForCompletion !== undefined;
  return {
    respondAsync: !explicit && asked.respondAsync,
    wait: explicit ? undefined : asked.wait,
    return: options.return === undefined ? asked.return : undefined,
  };
}

function takenIntoAccount(
  { respondAsync, wait, return: returned }: Preferences,
  { kind }: SubmitOutcome,
): Partial<Preferences> {
  return { respondAsync: respondAsync && (kind === 'job' || wait !== undefined), wait, return: returned };
}

function presentAnswer(
  job: Job,
  { results, operation, withJob }: { results: object[] | undefined; operation: BatchOperation; withJob: boolean },
): object {
  const { jobId, status, outcome, summary, links } = presentJobStatus(job);
  // why: where the results are not in the answer, the job is the only way to them
  const named = withJob || results === undefined;
  return {
    ...(named ? { jobId } : {}),
    status,
    outcome,
    ...(job.dryRun ? { dryRun: true } : {}),
    summary,
    ...(operation === 'update' && !job.dryRun ? { updated: summary.succeeded, failed: summary.failed } : {}),
    ...(results ? { results } : {}),
    ...(named ? { links } : {}),
  };
}

/** A dry run is a success also when its items would fail: nothing was to be applied. */
function isFailedAtomic({ atomic, dryRun, status, summary }: Job): boolean {
  return atomic && !dryRun && outcomeOf(status, summary) !== 'all_succeeded';
}

function atomicFailure(job: Job, results: object[], replayed: boolean): ApiError {
  const { jobId, outcome, summary } = presentJobStatus(job);
  const failures = `${summary.failed} of ${summary.total} items failed`;
  return new ApiError('atomic_batch_failed', `Nothing was applied: ${failures}, and the batch is atomic.`, {
    extra: { jobId, outcome, summary, results },
    ...(replayed ? { headers: { 'idempotency-replayed': 'true' } } : {}),
  });
}
