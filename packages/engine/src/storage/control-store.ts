import { presentJobId } from '../domain/ids.ts';
import type { JobStatus } from '../domain/job.ts';
import type { Database, Transaction } from './database.ts';
import { isThere, progressColumns, tellProgress, unlist } from './job-store.ts';
import { sql } from './sql.ts';

/*
 * The changes of state that callers ask for. Each begins with one statement that does nothing, and says so, when the job is in
 * another state by now. Locks are taken in the order of the workers: chunk, job, dispatch list.
 */

/**
 * Counts the items of cancelled chunks, and ends the job unless a chunk is still in flight: then it stays on the dispatch list, so
 * that a chunk whose worker dies is found.
 */
export async function requestCancel(
  db: Database,
  tenantId: string,
  jobUuid: string,
  { cancelledItems, ttlSeconds }: { cancelledItems: number; ttlSeconds: number },
): Promise<boolean> {
  const isWhole = sql`succeeded + failed + not_processed + ${cancelledItems}::int = total`;
  const cancelled = db.query(sql`
    with cancelled as (
      update docket.jobs set cancel_requested = true, not_processed = not_processed + ${cancelledItems}::int,
        status = case when ${isWhole} then 'cancelled' else 'running' end,
        started_at = case when ${isWhole} then started_at else coalesce(started_at, now()) end,
        completed_at = case when ${isWhole} then clock_timestamp() end,
        expires_at = case when ${isWhole} then clock_timestamp() + make_interval(secs => ${ttlSeconds}) else expires_at end
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and status in ('pending', 'running', 'paused')
      returning completed_at is not null as ended, priority, ${progressColumns}
    ), kept as (
      insert into docket.runnable_jobs (tenant_id, job_id, priority)
      select ${tenantId}, ${jobUuid}::uuid, priority from cancelled where not ended
      on conflict do nothing
    )
    select ${tellProgress(jobUuid)}, case when ended then pg_notify('docket_job_ended', ${presentJobId(jobUuid)}) end
    from cancelled`);
  const [{ rowCount }] = await Promise.all([cancelled, unlist(db, tenantId, jobUuid)]);
  return rowCount === 1;
}

/** Takes a job off the dispatch list; chunks in flight finish. */
export async function pauseOpenJob(tx: Transaction, tenantId: string, jobUuid: string): Promise<boolean> {
  const paused = tx.query(sql`
    with paused as (
      update docket.jobs set status = 'paused'
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and status in ('pending', 'running') and not cancel_requested
      returning ${progressColumns}
    )
    select ${tellProgress(jobUuid)} from paused`);
  const [{ rowCount }] = await Promise.all([paused, unlist(tx, tenantId, jobUuid), tx.commit()]);
  return rowCount === 1;
}

/** Puts a paused job back on the dispatch list, and wakes workers. */
export async function resumePausedJob(tx: Transaction, tenantId: string, jobUuid: string): Promise<boolean> {
  const resumed = tx.query(sql`
    with resumed as (
      update docket.jobs set status = case when started_at is null then 'pending' else 'running' end
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and status = 'paused'
      returning priority, ${progressColumns}
    ), listed as (
      insert into docket.runnable_jobs (tenant_id, job_id, priority)
      select ${tenantId}, ${jobUuid}::uuid, priority from resumed
    )
    select ${tellProgress(jobUuid)}, pg_notify('docket_runnable', ${tenantId}) from resumed`);
  const [{ rowCount }] = await Promise.all([resumed, tx.commit()]);
  return rowCount === 1;
}

/** The state of a job, which stays locked for this transaction. */
export async function lockStatus(db: Database, tenantId: string, jobUuid: string): Promise<JobStatus | undefined> {
  const { rows } = await db.query<{ status: JobStatus }>(sql`
    select status from docket.jobs where tenant_id = ${tenantId} and job_id = ${jobUuid} and ${isThere} for update`);
  return rows[0]?.status;
}

/** Removes a job with its items, results and batch keys. What it changed stays in the history of the records. */
export async function removeJob(db: Database, tenantId: string, jobUuid: string): Promise<void> {
  await Promise.all([
    db.query(sql`delete from docket.idempotency_keys where tenant_id = ${tenantId} and job_id = ${jobUuid}`),
    db.query(sql`delete from docket.job_chunks where tenant_id = ${tenantId} and job_id = ${jobUuid}`),
    db.query(sql`delete from docket.jobs where tenant_id = ${tenantId} and job_id = ${jobUuid}`),
  ]);
}
