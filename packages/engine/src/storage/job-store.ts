import { type BatchOperation, type Priority, priorities } from '../domain/batch.ts';
import { parseJobId, presentJobId } from '../domain/ids.ts';
import type { Job, JobOperation, JobStatus, Summary } from '../domain/job.ts';
import type { Json } from '../domain/json.ts';
import type { Database } from './database.ts';
import { empty, type Sql, sql } from './sql.ts';

/** Which items a retry holds: all that did not succeed, or those that may succeed as they are. */
export type RetryChoice = 'failed' | 'retryable';

/** A job as it is first written: either ended in the same transaction, or with chunks that wait. */
export interface NewJob {
  /** UUID of version 7. */
  id: string;
  tenantId: string;
  collection: string;
  operation: JobOperation;
  operationName: string | null;
  itemOperation: BatchOperation;
  status: 'pending' | 'completed';
  priority: Priority;
  label: string | null;
  dryRun: boolean;
  atomic: boolean;
  representation: boolean;
  synchronous: boolean;
  ordered: boolean;
  maxErrors: number | null;
  actor: string;
  parentId: string | null;
  /** Of a retry: which items of its parent. */
  retryOnly?: RetryChoice;
  traceparent: string | null;
  callbackUrl: string | null;
  summary: Summary;
  ttlSeconds: number;
}

interface JobRow {
  job_id: string;
  collection: string;
  operation: JobOperation;
  operation_name: string | null;
  item_operation: BatchOperation;
  status: JobStatus;
  cancel_requested: boolean;
  priority: number;
  label: string | null;
  dry_run: boolean;
  atomic: boolean;
  representation: boolean;
  synchronous: boolean;
  parent_job_id: string | null;
  actor: string;
  total: number;
  succeeded: number;
  failed: number;
  not_processed: number;
  error: Json;
  created_at: string;
  started_at: string | null;
  completed_at: string | null;
  expires_at: string;
}

const columns = sql`job_id, collection, operation, operation_name, item_operation, status, cancel_requested, priority, label,
  dry_run, atomic, representation, synchronous, parent_job_id, actor, total, succeeded, failed, not_processed, error, created_at, started_at, completed_at, expires_at`;

function toJob(row: JobRow): Job {
  return {
    jobId: presentJobId(row.job_id),
    collection: row.collection,
    operation: row.operation,
    operationName: row.operation_name,
    itemOperation: row.item_operation,
    status: row.status,
    cancelRequested: row.cancel_requested,
    summary: { total: row.total, succeeded: row.succeeded, failed: row.failed, notProcessed: row.not_processed },
    priority: priorities[row.priority] ?? 'normal',
    label: row.label,
    dryRun: row.dry_run,
    atomic: row.atomic,
    representation: row.representation,
    synchronous: row.synchronous,
    parentJobId: row.parent_job_id && presentJobId(row.parent_job_id),
    actor: row.actor,
    error: row.error,
    createdAt: row.created_at,
    startedAt: row.started_at,
    completedAt: row.completed_at,
    expiresAt: row.expires_at,
  };
}

/** Writes a job, and gives it back as stored. Its times are the transaction's. */
export async function insertJob(db: Database, job: NewJob): Promise<Job> {
  const { summary } = job;
  const ended = job.status === 'completed';
  const { rows } = await db.query<JobRow>(sql`
    insert into docket.jobs (tenant_id, job_id, collection, operation, operation_name, item_operation, status, priority, label, dry_run,
      atomic, representation, synchronous, ordered, max_errors, actor, parent_job_id, retry_only,
      traceparent, callback_url, total, succeeded, failed,
      not_processed, created_at, started_at, completed_at, expires_at)
    values (${job.tenantId}, ${job.id}, ${job.collection}, ${job.operation}, ${job.operationName}, ${job.itemOperation}, ${job.status},
      ${priorities.indexOf(job.priority)}, ${job.label}, ${job.dryRun}, ${job.atomic}, ${job.representation},
      ${job.synchronous}, ${job.ordered}, ${job.maxErrors}, ${job.actor}, ${job.parentId},
      ${job.retryOnly ?? null}, ${job.traceparent}, ${job.callbackUrl},
      ${summary.total}, ${summary.succeeded}, ${summary.failed}, ${summary.notProcessed}, now(),
      case when ${ended}::boolean then now() end, case when ${ended}::boolean then clock_timestamp() end,
      now() + make_interval(secs => ${job.ttlSeconds}))
    returning ${columns}`);
  return toJob(rows[0] as JobRow);
}

/** Puts a job on the dispatch list and wakes workers when the transaction commits. */
export async function makeRunnable(db: Database, tenantId: string, jobUuid: string, priority: Priority): Promise<void> {
  await Promise.all([
    db.query(sql`insert into docket.runnable_jobs (tenant_id, job_id, priority)
      values (${tenantId}, ${jobUuid}, ${priorities.indexOf(priority)})`),
    db.query(sql`select pg_notify('docket_runnable', ${tenantId})`),
  ]);
}

/** An ended job whose time is over is not there any more, also as long as it has not been removed. */
export const isThere = sql`(completed_at is null or expires_at > now())`;

export async function findJob(db: Database, tenantId: string, jobId: string): Promise<Job | undefined> {
  const uuid = parseJobId(jobId);
  if (!uuid) return undefined;
  const { rows } = await db.query<JobRow>(
    sql`select ${columns} from docket.jobs where tenant_id = ${tenantId} and job_id = ${uuid} and ${isThere}`,
  );
  return rows[0] && toJob(rows[0]);
}

/** An ended job from which another one is to be made, locked so that each kind of it is made once. */
export interface LockedParent {
  job: Job;
  /** An id may stand in several of its chunks. */
  ordered: boolean;
}

export async function lockParent(db: Database, tenantId: string, jobUuid: string): Promise<LockedParent | undefined> {
  const { rows } = await db.query<JobRow & { ordered: boolean }>(sql`
    select ${columns}, ordered from docket.jobs where tenant_id = ${tenantId} and job_id = ${jobUuid} and ${isThere}
    for update`);
  return rows[0] && { job: toJob(rows[0]), ordered: rows[0].ordered };
}

/** The job of a kind that was made from another one. */
export async function findFollowUp(
  db: Database,
  params: { tenantId: string; parentUuid: string; operation: JobOperation; retryOnly: RetryChoice | undefined },
): Promise<Job | undefined> {
  const { rows } = await db.query<JobRow>(sql`
    select ${columns} from docket.jobs
    where tenant_id = ${params.tenantId} and parent_job_id = ${params.parentUuid} and operation = ${params.operation}
      and retry_only is not distinct from ${params.retryOnly ?? null}::text`);
  return rows[0] && toJob(rows[0]);
}

export interface JobFilter {
  status?: JobStatus | undefined;
  collection?: string | undefined;
  label?: string | undefined;
}

/** Newest first; single writes are left out. `after` is the public id of the last job seen. */
export async function listJobs(
  db: Database,
  tenantId: string,
  { status, collection, label }: JobFilter,
  after: string | undefined,
  limit: number,
): Promise<Job[]> {
  const and = (condition: Sql, value: unknown) => (value === undefined ? empty : sql`and ${condition}`);
  const uuid = after === undefined ? undefined : parseJobId(after);
  const { rows } = await db.query<JobRow>(sql`
    select ${columns} from docket.jobs
    where tenant_id = ${tenantId} and operation not in ('update_one', 'create_one') and ${isThere}
      ${and(sql`status = ${status}`, status)} ${and(sql`collection = ${collection}`, collection)}
      ${and(sql`label = ${label}`, label)} ${and(sql`job_id < ${uuid}`, uuid)}
    order by job_id desc limit ${limit}`);
  return rows.map(toJob);
}

/**
 * The job as a relation of one row if it has ended, else of none, so that a statement can be sent before it is known whether
 * this transaction ends it. Columns: `status`, `synchronous`, `completed_at`, `callback_url`, `traceparent`, and `job`, JSON with
 * `jobId`, `collection`, `operation`, `status`, `summary`, `label`, `dryRun`, `error`, `parentJobId`, `createdAt`, `completedAt`.
 */
export function endedJob(tenantId: string, jobUuid: string): Sql {
  return sql`(
    select status, synchronous, completed_at, callback_url, traceparent, json_build_object(
      'jobId', ${presentJobId(jobUuid)}::text, 'collection', collection, 'operation', operation, 'status', status,
      'summary', json_build_object('total', total, 'succeeded', succeeded, 'failed', failed, 'notProcessed', not_processed),
      'label', label, 'dryRun', dry_run, 'error', error,
      'parentJobId', 'job_' || replace(parent_job_id::text, '-', ''),
      'createdAt', ${rfc3339(sql`created_at`)}, 'completedAt', ${rfc3339(sql`completed_at`)}) as job
    from docket.jobs where tenant_id = ${tenantId} and job_id = ${jobUuid}::uuid and completed_at is not null)`;
}

// as the driver's own times are given: without zeros at the end
const rfc3339 = (time: Sql) => sql`(to_json(${time} at time zone 'utc') #>> '{}') || 'Z'`;

/** What is told of a job to those who follow it: how it stands, and the chunk that was decided, where there is one. */
export interface ProgressNotice {
  jobId: string;
  status: JobStatus;
  cancelRequested: boolean;
  summary: Summary;
  startedAt: string | null;
  chunk?: { chunkNo: number; failed: boolean };
}

/** Columns of a changed job that `tellProgress` needs. */
export const progressColumns = sql`status, cancel_requested, total, succeeded, failed, not_processed, started_at`;

/** Tells of a job, from a row that has `progressColumns`. */
export function tellProgress(jobUuid: string, chunk?: ProgressNotice['chunk']): Sql {
  return sql`pg_notify('docket_job_progress', json_build_object('jobId', ${presentJobId(jobUuid)}::text, 'status', status,
    'cancelRequested', cancel_requested, 'startedAt', started_at, 'summary', json_build_object('total', total,
    'succeeded', succeeded, 'failed', failed, 'notProcessed', not_processed)
    ${chunk ? sql`, 'chunk', json_build_object('chunkNo', ${chunk.chunkNo}::int, 'failed', ${chunk.failed}::boolean)` : empty})::text)`;
}

/**
 * Adds a chunk's counts to its job, ends the job when that was the last, and tells those who wait for it. A paused job stays
 * so until its last chunk; one that is being cancelled ends as `cancelled`. The caller holds the chunk, so each is counted once.
 * The time for which the job is kept begins with its end.
 */
export async function countChunk(
  db: Database,
  params: {
    tenantId: string;
    jobUuid: string;
    chunkNo: number;
    counts: Omit<Summary, 'total'>;
    ttlSeconds: number;
  },
): Promise<void> {
  const { tenantId, jobUuid, chunkNo, ttlSeconds } = params;
  const { succeeded, failed, notProcessed } = params.counts;
  const isLast = sql`succeeded + failed + not_processed + ${succeeded + failed + notProcessed}::int = total`;
  const counted = db.query(sql`
    with counted as (
      update docket.jobs set
        succeeded = succeeded + ${succeeded}::int, failed = failed + ${failed}::int,
        not_processed = not_processed + ${notProcessed}::int,
        started_at = coalesce(started_at, now()),
        status = case
          when not (${isLast}) then case status when 'paused' then 'paused' else 'running' end
          when cancel_requested then 'cancelled' else 'completed' end,
        completed_at = case when ${isLast} then clock_timestamp() end,
        expires_at = case when ${isLast} then clock_timestamp() + make_interval(secs => ${ttlSeconds}) else expires_at end
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and status in ('pending', 'running', 'paused')
      returning completed_at is not null as ended, ${progressColumns}
    )
    select ended, ${tellProgress(jobUuid, { chunkNo, failed: failed > 0 })},
      case when ended then pg_notify('docket_job_ended', ${presentJobId(jobUuid)}) end
    from counted`);
  const [{ rowCount }] = await Promise.all([counted, unlist(db, tenantId, jobUuid)]);
  if (rowCount !== 1) throw new Error(`Job ${jobUuid} ended while one of its chunks was being applied.`);
}

/**
 * Takes a job off the dispatch list that is not to be served any more. To be sent behind the statement that changed it, and not as a part
 * of it: that one may have waited for another transaction, and would not see what was put on the list by it.
 */
export async function unlist(db: Database, tenantId: string, jobUuid: string): Promise<void> {
  await db.query(sql`
    delete from docket.runnable_jobs r
    where r.tenant_id = ${tenantId} and r.job_id = ${jobUuid} and exists (
      select 1 from docket.jobs j
      where j.tenant_id = ${tenantId} and j.job_id = ${jobUuid} and (j.completed_at is not null or j.status = 'paused'))`);
}
