import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defaultLimits, type Limits } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import type { Collection } from '../domain/collection.ts';
import { defaultPrices, isPrice, type Prices } from '../domain/usage.ts';
import { chunkItems } from '../storage/chunk-store.ts';
import { asRequestError } from '../storage/errors.ts';
import { migrate, pendingMigrations } from '../storage/migrate.ts';
import { createPool } from '../storage/pool.ts';
import { sql } from '../storage/sql.ts';
import { failAbandonedUploads } from '../storage/upload-store.ts';
import { Admission } from './admission.ts';
import { CoalescingReader } from './coalescing-reader.ts';
import { cancelJob, deleteJob, pauseJob, resumeJob } from './control-job.ts';
import { effectTeller, tellEnd } from './effects.ts';
import type { Engine, EngineOptions, TimesToLive } from './engine.ts';
import { applyPreview, retryJob, revertJob } from './follow-up-jobs.ts';
import { JobEvents } from './job-events.ts';
import { JobReader } from './job-reader.ts';
import { Live } from './live.ts';
import { findMount, type MountedCollection, mountCollections } from './mounts.ts';
import { history, listRecords } from './record-lists.ts';
import { removeExpired } from './remove-expired.ts';
import { Runner } from './runner.ts';
import { submit } from './submit.ts';
import { submitStream, Uploads } from './submit-stream.ts';
import { meterOf, usage } from './usage.ts';

const migrations = { name: 'engine', directory: fileURLToPath(new URL('../../migrations', import.meta.url)) };

/** No statement of a request or a chunk takes so long; a connection that stays silent for longer is lost. */
const answerTimeoutMs = 45_000;
const pingTimeoutMs = 5_000;
const sweepEveryMs = 5_000;
const day = 24 * 3600;

function checkTimesToLive({ jobTtlSeconds, idempotencyTtlSeconds, changeTtlSeconds }: Required<TimesToLive>): void {
  if (jobTtlSeconds < idempotencyTtlSeconds) {
    throw new RangeError(
      `jobTtlSeconds (${jobTtlSeconds}) must be at least idempotencyTtlSeconds (${idempotencyTtlSeconds}): a repeated request is answered from its job.`,
    );
  }
  if (changeTtlSeconds < jobTtlSeconds) {
    throw new RangeError(
      `changeTtlSeconds (${changeTtlSeconds}) must be at least jobTtlSeconds (${jobTtlSeconds}): a job is reverted from its changes.`,
    );
  }
}

function checkPrices(prices: Prices): Prices {
  for (const [name, price] of Object.entries(prices)) {
    if (isPrice(price)) continue;
    throw new RangeError(`credits.${name} (${price}) must be a number from 0 to 1000000 with at most three decimals.`);
  }
  return prices;
}

async function failAfter(ms: number): Promise<never> {
  await delay(ms, undefined, { ref: false });
  throw new Error(`no answer within ${ms} ms`);
}

/**
 * The engine over your tables. Nothing happens until it is asked: `migrate` and `checkTables` first, then reads and
 * submissions; `startWorkers` in processes that apply jobs.
 */
export function createEngine(options: EngineOptions): Engine {
  const { logger, databaseUrl } = options;
  const limits: Limits = { ...defaultLimits, ...options.limits };
  if (limits.syncMaxItems > chunkItems) {
    throw new RangeError(`limits.syncMaxItems may be ${chunkItems} at most: a synchronous batch is one transaction.`);
  }
  const settings = {
    syncBudgetMs: options.syncBudgetMs ?? 30_000,
    jobTtlSeconds: options.jobTtlSeconds ?? 7 * day,
    idempotencyTtlSeconds: options.idempotencyTtlSeconds ?? day,
    changeTtlSeconds: options.changeTtlSeconds ?? 400 * day,
  };
  checkTimesToLive(settings);
  for (const name of ['queuedItemsPerTenant', 'queuedItems'] as const) {
    if (limits[name] < limits.streamItems) {
      throw new RangeError(
        `limits.${name} (${limits[name]}) must be at least limits.streamItems (${limits.streamItems}): a larger stream could never be taken.`,
      );
    }
  }
  const meter = meterOf(checkPrices({ ...defaultPrices, ...options.credits }));
  const workers = options.workers ?? 3;
  const onIdleError = (error: Error) => logger.warn({ err: error }, 'an idle database connection was lost');
  const connect = (applicationName: string, max: number) =>
    createPool({ url: databaseUrl, max, applicationName, answerTimeoutMs, onIdleError });
  const pool = connect('docket', options.poolSize ?? 10);
  const workerPool = connect('docket-worker', workers);
  const live = new Live(databaseUrl, logger);
  const jobs = new JobReader(pool, live);
  const events = new JobEvents(pool, live, jobs);
  const reader = new CoalescingReader(pool);
  const onDecided = options.onDecided ?? (() => {});
  const tellEffect = effectTeller(options.recordEffect);
  const admission = new Admission(limits);
  const uploads = new Uploads(limits.uploads);
  const followUp = { pool, jobs, jobTtlSeconds: settings.jobTtlSeconds, admission, tellEffect, meter };
  const control = { pool, jobs, jobTtlSeconds: settings.jobTtlSeconds, onDecided, tellEffect };
  let mounts: ReadonlyMap<string, MountedCollection> = new Map();
  let runner: Runner | undefined;
  let sweeping: NodeJS.Timeout | undefined;
  let stopped: Promise<void> | undefined;

  const find = (tenantId: string, collection: string) => findMount(mounts, tenantId, collection);
  const guard = async <Value>(work: () => Promise<Value>): Promise<Value> => {
    try {
      return await work();
    } catch (error) {
      throw asRequestError(error);
    }
  };

  return {
    collections: new Map(
      options.collections.map(({ collection }): [string, Collection<never>] => [collection.name, collection]),
    ),
    limits,
    pool,
    migrate: async (sets = []) => {
      // why: a migration of a large table may take as long as it takes
      const patient = createPool({ url: databaseUrl, max: 1, applicationName: 'docket-migrate', onIdleError });
      const done = await migrate(patient, [migrations, ...sets]).finally(() => patient.end());
      if (done.length > 0) logger.info({ migrations: done }, 'the schema is up to date');
      return done;
    },
    pendingMigrations: (sets = []) => pendingMigrations(pool, [migrations, ...sets]),
    checkTables: async () => {
      mounts = await mountCollections(pool, options.collections);
      await live.start();
    },
    startWorkers: async () => {
      // why: a worker that knows no collection fails every item
      if (mounts.size < options.collections.length) throw new Error('Call `checkTables` before `startWorkers`.');
      runner ??= new Runner({
        pool: workerPool,
        mounts,
        live,
        logger,
        onDecided,
        tellEffect,
        concurrency: workers,
        keyTtlSeconds: settings.idempotencyTtlSeconds,
        jobTtlSeconds: settings.jobTtlSeconds,
      });
      runner.start();
      const sweep = () =>
        failAbandonedUploads(pool, { ttlSeconds: settings.jobTtlSeconds, onEnd: tellEnd(tellEffect) }).catch((error) =>
          logger.warn({ err: error }, 'could not look for uploads that broke off'),
        );
      if (!sweeping) void sweep();
      sweeping ??= setInterval(sweep, sweepEveryMs).unref();
    },
    stop: () => {
      stopped ??= (async () => {
        clearInterval(sweeping);
        await runner?.stop();
        events.stop();
        await jobs.stopWaiting();
        await live.stop();
        await Promise.all([workerPool.end(), pool.end()]);
      })();
      return stopped;
    },
    onNotify: (channel, listener) => live.onOther(channel, listener),
    ping: async () => {
      try {
        await Promise.race([pool.query(sql`select 1`), failAfter(pingTimeoutMs)]);
      } catch (error) {
        throw new RequestError('database_unavailable', 'The database does not answer.', {
          retryAfter: 2,
          cause: error,
        });
      }
    },

    submit: (submission) =>
      guard(() =>
        submit({ pool, mounts, limits, settings, jobs, admission, tellEffect, meter, onDecided }, submission),
      ),
    submitStream: (submission, source) =>
      guard(() =>
        submitStream(
          { pool, mounts, limits, settings, jobs, admission, tellEffect, meter, uploads },
          submission,
          source,
        ),
      ),
    applyPreview: (caller, jobId) => guard(() => applyPreview(followUp, caller, jobId)),
    retryJob: (caller, jobId, only = 'failed') => guard(() => retryJob(followUp, caller, jobId, only)),
    revertJob: (caller, jobId) => guard(() => revertJob(followUp, caller, jobId)),
    cancelJob: (caller, jobId) => guard(() => cancelJob(control, caller, jobId)),
    pauseJob: (caller, jobId) => guard(() => pauseJob(control, caller, jobId)),
    resumeJob: (caller, jobId) => guard(() => resumeJob(control, caller, jobId)),
    deleteJob: (caller, jobId) => guard(() => deleteJob(control, caller, jobId)),
    removeExpired: ({ signal } = {}) => guard(() => removeExpired({ pool, ...settings }, signal)),

    // why not guarded like the others: this is the hottest call, and the reader maps errors once for many reads
    readRecord: (tenantId, collection, id) => reader.read(find(tenantId, collection), tenantId, id),
    readRecords: (tenantId, collection, ids) => guard(() => find(tenantId, collection).store.read(pool, tenantId, ids)),
    listRecords: (params) => guard(() => listRecords(pool, find(params.tenantId, params.collection), params)),
    history: (params) => guard(() => history(pool, find(params.tenantId, params.collection), params)),
    pendingJobs: (tenantId, collection, ids) => guard(() => jobs.pending(tenantId, collection, ids)),

    getJob: (tenantId, jobId) => guard(() => jobs.get(tenantId, jobId)),
    waitForJob: (tenantId, jobId, timeoutMs, signal) => guard(() => jobs.wait(tenantId, jobId, timeoutMs, signal)),
    waitForRecord: (params) => guard(() => jobs.waitForRecord(params)),
    jobEvents: (params) => events.follow(params),
    listJobs: (params) => guard(() => jobs.list(params)),
    jobResults: (params) => guard(() => jobs.results(params)),
    streamResults: (params) => jobs.stream(params),

    usage: (params) => guard(() => usage(pool, params)),
  };
}
