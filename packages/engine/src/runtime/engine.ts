import type { BatchContent, BatchOperation, BatchOptions, Limits, StreamedItem } from '../domain/batch.ts';
import type { Collection, RecordState } from '../domain/collection.ts';
import type { ItemResult } from '../domain/decide.ts';
import type { Job, JobStatus } from '../domain/job.ts';
import type { JsonObject } from '../domain/json.ts';
import type { ResultFilter } from '../domain/result-filter.ts';
import type { Prices, Usage } from '../domain/usage.ts';
import type { HistoryEntry } from '../storage/change-store.ts';
import type { Database, Pool } from '../storage/database.ts';
import type { RetryChoice } from '../storage/job-store.ts';
import type { MigrationSet } from '../storage/migrate.ts';
import type { Sql } from '../storage/sql.ts';

/** A collection together with what its rules need from the database, loaded once for each chunk inside its transaction. */
export interface CollectionMount<Context = unknown> {
  collection: Collection<Context>;
  loadContext?: (db: Database, tenantId: string) => Promise<Context>;
}

/** A mount whatever its context is. */
export interface AnyCollectionMount {
  collection: Collection<never>;
  loadContext?: (db: Database, tenantId: string) => Promise<unknown>;
}

/** Items whose fate was committed just now. */
export interface DecidedItems {
  collection: string;
  succeeded: number;
  failed: number;
  notProcessed: number;
}

/** What one transaction of the engine does, told inside it. */
export interface Effect {
  tenantId: string;
  jobId: string;
  /** The records that it changes or creates, each once; undefined where there are none. */
  changed: { collection: string; ids: readonly string[]; traceparent: string | null } | undefined;
  /**
   * Set where it may end the job: a relation for a FROM clause, of one row if it does, else of none. Columns: `status`, `synchronous`
   * (its results are the answer to the request), `completed_at`, `callback_url`, `traceparent`, and `job`, JSON with `jobId`,
   * `collection`, `operation`, `status`, `summary`, `label`, `dryRun`, `error`, `parentJobId`, `createdAt`, `completedAt`.
   */
  endedJob: Sql | undefined;
}

export interface EngineLogger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/** How long things are kept, in seconds. `removeExpired` removes them afterwards. */
export interface TimesToLive {
  /** A job with its results, from its end. At least `idempotencyTtlSeconds`. Default 7 days. */
  jobTtlSeconds?: number;
  /** An idempotency key, of a batch or an item. Default 24 hours. */
  idempotencyTtlSeconds?: number;
  /** A change in the history of a record; longer where a job that may have made it is still there. At least `jobTtlSeconds`. Default 400 days. */
  changeTtlSeconds?: number;
}

/** How many rows of each kind were removed. */
export interface Removed {
  jobs: number;
  /** Up to 1,000 items and their results each. */
  chunks: number;
  idempotencyKeys: number;
  itemKeys: number;
  changes: number;
  /** Days of usage of a tenant; a day on which much was sent at the same time has several. */
  usage: number;
}

export interface EngineOptions extends TimesToLive {
  /** PostgreSQL connection string. */
  databaseUrl: string;
  collections: readonly AnyCollectionMount[];
  logger: EngineLogger;
  /** Called after each commit that decided items in this process; for metrics. */
  onDecided?: (items: DecidedItems) => void;
  /**
   * Called inside each transaction that changes records or may end a job: what is written with `db` is kept or lost together with
   * that, as an outbox needs it. Its statements go out with those of the engine and cost no round trip of their own, so they must be
   * sent at once, before anything is awaited. When one fails, so does the whole transaction.
   */
  recordEffect?: (db: Database, effect: Effect) => Promise<unknown>;
  limits?: Partial<Limits>;
  /** What a batch costs; see `Engine.usage`. Default: 1 for each batch and 0.5 for each item. */
  credits?: Partial<Prices>;
  /** Connections for requests; workers have their own. Default 10. */
  poolSize?: number;
  /**
   * Chunks that this process applies at the same time once `startWorkers` was called; from two on, one of these places is kept for
   * the first chunks of new jobs. Default 3.
   */
  workers?: number;
  /** Time a synchronous batch may take, in milliseconds. Default 30,000. */
  syncBudgetMs?: number;
}

/** Who asks, and for whom; every call carries it. */
export interface Caller {
  tenantId: string;
  /** Recorded with each change: the name of the API key, a user, a service. */
  actor: string;
}

export interface Submission extends Caller {
  collection: string;
  operation: BatchOperation;
  content: BatchContent;
  options: BatchOptions;
  /** A single PATCH or POST of one record: recorded as a job, but not listed among the jobs. */
  single?: boolean;
  /** The caller's name for what the batch does, given back with the job. */
  operationName?: string;
  /** RFC 7240 `respond-async` and `wait=N` (seconds), where the request said so. */
  prefer?: { respondAsync: boolean; waitSeconds: number | undefined };
  idempotency?: { key: string; payloadHash: string };
  /** W3C trace context of the request, carried into the job. */
  traceparent?: string;
  /**
   * Ends the time that the answer may take: a job is answered as it stands, a synchronous batch as at its deadline. What was
   * applied stays applied.
   */
  signal?: AbortSignal;
}

/** A batch whose items come as a stream; always a job. Of the options, those count that jobs have. */
export interface StreamSubmission
  extends Pick<Submission, 'tenantId' | 'actor' | 'collection' | 'operation' | 'options' | 'traceparent'> {
  /** The hash is asked for once the source has ended. */
  idempotency?: { key: string; payloadHash: () => string };
}

/**
 * The answer to a submission: results when they are there, else the job to follow. `results` is null when there are more than
 * `limits.syncMaxItems`: they are read page by page.
 */
export type SubmitOutcome =
  | { kind: 'results'; job: Job; results: ItemResult[] | null; replayed: boolean }
  | {
      kind: 'job';
      job: Job;
      replayed: boolean;
      /** Of a dry run: what would become of its first items, decided in the moment of submission; replayed, as far as the job is. */
      sample?: ItemResult[];
    };

/** Something that happened to a job. `id` names the place in its story, for `lastEventId`. */
export type JobEvent =
  | { kind: 'progress' | 'end'; id: string; job: Job }
  | { kind: 'failure'; id: string; job: Job; result: ItemResult };

export interface Page<Row> {
  items: Row[];
  nextCursor: string | null;
}

export interface ResultRow {
  result: ItemResult;
  /** What was asked of the item; empty where that was not asked for. */
  fields: JsonObject;
}

export interface Engine {
  readonly collections: ReadonlyMap<string, Collection<never>>;
  readonly limits: Limits;
  /** The pool for requests: for an embedding server's own tables. */
  readonly pool: Pool;

  /**
   * Applies the engine's migrations, then those of `sets`, and gives back the files that it applied. Safe when many processes do it
   * at once; refuses a newer breaking schema.
   */
  migrate(sets?: readonly MigrationSet[]): Promise<string[]>;
  /** The files that `migrate` would apply. Changes nothing; refuses what `migrate` refuses. */
  pendingMigrations(sets?: readonly MigrationSet[]): Promise<string[]>;
  /** Compares each collection's table with its definition. Throws one error that names every difference. */
  checkTables(): Promise<void>;
  /** Starts applying jobs in this process. Idempotent. */
  startWorkers(): Promise<void>;
  /** Finishes the chunks at hand, ends waits, closes every connection. Idempotent. */
  stop(): Promise<void>;
  /**
   * Calls back after each NOTIFY on a channel of your own, once `checkTables` was called, and after each reconnection, since
   * notifications may have been lost. Gives back the function that ends it.
   */
  onNotify(channel: string, listener: () => void): () => void;
  /** Resolves when the database answers; throws `database_unavailable` otherwise. */
  ping(): Promise<void>;

  /**
   * Applies a batch, or takes it as a job. Every item gets exactly one result; each is applied exactly once whatever crashes.
   * Throws RequestError: `batch_empty`, `batch_too_large`, `unknown_collection`, `expected_count_mismatch`,
   * `idempotency_key_reused`, `idempotency_in_progress`, `atomic_batch_failed` (never for a kept result), `database_unavailable`.
   */
  submit(submission: Submission): Promise<SubmitOutcome>;
  /**
   * Takes a job's items as they come, one by one or in lists, with flat memory: the source is read no faster than its items are stored. The job runs once
   * the source has ended; when the source fails, the job is `failed` and nothing was applied. An error thrown by the source is
   * thrown again, a RequestError with `extra.jobId` where there is a job. Also throws `batch_empty`, `batch_too_large`,
   * `unknown_collection`, `idempotency_key_reused`, `idempotency_in_progress`, `job_conflict` (ended while items came).
   */
  submitStream(
    submission: StreamSubmission,
    source: AsyncIterable<StreamedItem | readonly StreamedItem[]>,
  ): Promise<Extract<SubmitOutcome, { kind: 'job' }>>;
  /** Applies exactly a finished dry run as a new job; asked again it gives the same job. Throws `job_not_found`, `job_conflict`. */
  applyPreview(caller: Caller, jobId: string): Promise<Job>;
  /**
   * Tries the items of an ended job again, as a new job: all that did not succeed (`failed`, the default), or those whose result
   * is `retryable`. Asked again it gives the same job. Throws `job_not_found`, `job_conflict`.
   */
  retryJob(caller: Caller, jobId: string, only?: RetryChoice): Promise<Job>;
  /**
   * Gives the records of an ended job the values back that they had before it, as a new job; a record that was changed since fails
   * with `version_conflict`. Asked again it gives the same job. Throws `job_not_found`, `job_conflict`.
   */
  revertJob(caller: Caller, jobId: string): Promise<Job>;
  /**
   * Cancels what is not being applied at this moment. What is applied stays; the job ends as `cancelled` once the chunks in flight
   * have ended. Asked again it gives the job. Throws `job_not_found`, and `job_conflict` when the job has ended otherwise.
   */
  cancelJob(caller: Caller, jobId: string): Promise<Job>;
  /** Lets no further chunk begin; those in flight finish. Idempotent. Throws `job_not_found`, `job_conflict`. */
  pauseJob(caller: Caller, jobId: string): Promise<Job>;
  /** Lets a paused job go on; a job that is not paused is given back as it is. Throws `job_not_found`, `job_conflict`. */
  resumeJob(caller: Caller, jobId: string): Promise<Job>;
  /** Removes an ended job with its results and batch keys; the history of the records stays. Throws `job_not_found`, `job_conflict`. */
  deleteJob(caller: Caller, jobId: string): Promise<void>;

  /**
   * Removes what has outlived its time, in small transactions, until nothing is left of it or `signal` aborts: to be called every
   * minute or so, by any process. Of several at once, one removes and the others give back at once. A job that has not ended is
   * never touched; one whose time is over cannot be read any more, whether it was removed or not.
   */
  removeExpired(options?: { signal?: AbortSignal }): Promise<Removed>;

  /** Linearizable: the query starts after the call. Calls of one tick share one query. */
  readRecord(tenantId: string, collection: string, id: string): Promise<RecordState | undefined>;
  readRecords(tenantId: string, collection: string, ids: readonly string[]): Promise<Map<string, RecordState>>;
  /** `sort` is a sortable field, with a leading - for descending; default the id. Throws `invalid_parameter`, `unknown_option`. */
  listRecords(params: {
    tenantId: string;
    collection: string;
    where: JsonObject;
    sort?: string | undefined;
    limit: number;
    cursor?: string | undefined;
  }): Promise<Page<RecordState>>;
  /** Changes of one record, newest first. */
  history(params: {
    tenantId: string;
    collection: string;
    id: string;
    limit: number;
    cursor?: string | undefined;
  }): Promise<Page<HistoryEntry>>;
  /** Of each id, the jobs that hold it and have not decided it yet. */
  pendingJobs(tenantId: string, collection: string, ids: readonly string[]): Promise<Map<string, string[]>>;

  /** Throws `job_not_found`. */
  getJob(tenantId: string, jobId: string): Promise<Job>;
  /** The job as it is when it ends, or after `timeoutMs`, whichever comes first. Throws `job_not_found`. */
  waitForJob(tenantId: string, jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<Job>;
  /**
   * Waits until a job has decided a record, at most `timeoutMs`: true then, or when the job does not hold the record. Throws
   * `job_not_found`.
   */
  waitForRecord(params: {
    tenantId: string;
    jobId: string;
    id: string;
    timeoutMs: number;
    signal?: AbortSignal | undefined;
  }): Promise<boolean>;
  /**
   * What happens to a job, as it happens: its progress (at once, then every 250 ms at most), each item that failed, and its end.
   * With `lastEventId`, what was told before is left out. Costs no query for each of those who follow. Ends without `end` when the
   * signal aborts, the engine stops or the job is deleted: follow it again. Throws `job_not_found`, `invalid_parameter`.
   */
  jobEvents(params: {
    tenantId: string;
    jobId: string;
    lastEventId?: string | undefined;
    signal: AbortSignal;
  }): AsyncGenerator<JobEvent>;
  /** Newest first. */
  listJobs(params: {
    tenantId: string;
    status?: JobStatus | undefined;
    collection?: string | undefined;
    label?: string | undefined;
    limit: number;
    cursor?: string | undefined;
  }): Promise<Page<Job>>;
  /** Results decided so far that pass the filter, in request order. Chunks that hold none are not read. */
  jobResults(
    params: ResultFilter & { tenantId: string; jobId: string; limit: number; cursor?: string | undefined },
  ): Promise<Page<ItemResult>>;
  /**
   * All results decided so far that pass the filter, in request order, chunk by chunk with flat memory. With `withFields: false`
   * what was asked of the items is not read.
   */
  streamResults(
    params: ResultFilter & { tenantId: string; jobId: string; withFields?: boolean },
  ): AsyncIterable<ResultRow[]>;

  /**
   * What the tenant has sent in a month (`2026-11`, UTC; default the current one), by day. Each batch is counted once, with all of its
   * items and whatever becomes of them, in the transaction that takes it; an upload when it ends. What was refused or failed to
   * upload counts nothing, nor does a request that is answered from its idempotency key. A dry run is counted and costs no
   * credits. Kept for 13 months. Throws `invalid_parameter` for a month that has not begun or is not kept any more.
   */
  usage(params: { tenantId: string; month?: string | undefined }): Promise<Usage>;
}
