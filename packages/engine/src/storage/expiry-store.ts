import { usageMonths } from '../domain/usage.ts';
import type { Database } from './database.ts';
import { sql } from './sql.ts';

/*
 * Removal of what has outlived its time, a few rows at a time. Each step is for one transaction and gives back how many rows it
 * removed of each kind; nothing of a kind means that nothing is left of it, or that others hold it.
 * why across tenants: what has expired is found by time; it is removed tenant by tenant
 */

/** Rows that one step may remove. */
const stepRows = 1_000;
/** Bytes of items and results after which a step ends. */
const stepBytes = 16 * 1024 * 1024;
/** A read that has found its job just before the job's end of life is over by then. */
const graceSeconds = 60;

/** Lets one process at a time remove, until the transaction ends. False when another one is at it. */
export async function takeExpiryLock(db: Database): Promise<boolean> {
  const { rows } = await db.query<{ granted: boolean }>(
    sql`select pg_try_advisory_xact_lock(hashtextextended(${'docket.expiry'}, 0)) as granted`,
  );
  return rows[0]?.granted ?? false;
}

/**
 * Removes ended jobs with their batch keys, the chunks of each before the job itself: a job that is gone in part was expired, and so invisible, before.
 * Jobs that others hold, such as those from which another job is being made, are left for later.
 */
export async function removeExpiredJobs(
  db: Database,
): Promise<{ jobs: number; chunks: number; idempotencyKeys: number }> {
  const { rows } = await db.query<{ tenant_id: string; job_id: string }>(sql`
    select tenant_id, job_id from docket.jobs
    where completed_at is not null and expires_at < now() - make_interval(secs => ${graceSeconds})
    order by expires_at limit ${stepRows}
    for update skip locked`);
  if (rows.length === 0) return { jobs: 0, chunks: 0, idempotencyKeys: 0 };
  const expired = sql`
    unnest(${rows.map((row) => row.tenant_id)}::text[], ${rows.map((row) => row.job_id)}::uuid[]) as e(tenant_id, job_id)`;
  const [chunks, keys, jobs] = await Promise.all([
    db.query(sql`
      delete from docket.job_chunks c
      using (
        select tenant_id, job_id, chunk_no, sum(bytes) over (order by tenant_id, job_id, chunk_no) - bytes as bytes_before
        from (
          select o.tenant_id, o.job_id, o.chunk_no, pg_column_size(o.items) + coalesce(pg_column_size(o.results), 0) as bytes
          from ${expired} join docket.job_chunks o on o.tenant_id = e.tenant_id and o.job_id = e.job_id
          limit ${stepRows}
        ) page
      ) part
      where c.tenant_id = part.tenant_id and c.job_id = part.job_id and c.chunk_no = part.chunk_no
        and part.bytes_before < ${stepBytes}`),
    db.query(sql`
      delete from docket.idempotency_keys k using ${expired}
      where k.tenant_id = e.tenant_id and k.job_id = e.job_id`),
    db.query(sql`
      delete from docket.jobs j using ${expired}
      where j.tenant_id = e.tenant_id and j.job_id = e.job_id and not exists (
        select 1 from docket.job_chunks c where c.tenant_id = j.tenant_id and c.job_id = j.job_id)`),
  ]);
  return { jobs: jobs.rowCount, chunks: chunks.rowCount, idempotencyKeys: keys.rowCount };
}

/** Removes keys of batches. One that a request takes again at this moment is left to it. */
export async function removeExpiredKeys(db: Database): Promise<{ idempotencyKeys: number }> {
  const { rowCount } = await db.query(sql`
    delete from docket.idempotency_keys k
    using (
      select tenant_id, key from docket.idempotency_keys where expires_at <= now()
      order by expires_at limit ${stepRows} for update skip locked
    ) e
    where k.tenant_id = e.tenant_id and k.key = e.key`);
  return { idempotencyKeys: rowCount };
}

/** The same for keys of items. */
export async function removeExpiredItemKeys(db: Database): Promise<{ itemKeys: number }> {
  const { rowCount } = await db.query(sql`
    delete from docket.item_keys k
    using (
      select tenant_id, collection, key from docket.item_keys where expires_at <= now()
      order by expires_at limit ${stepRows} for update skip locked
    ) e
    where k.tenant_id = e.tenant_id and k.collection = e.collection and k.key = e.key`);
  return { itemKeys: rowCount };
}

/**
 * Removes changes, the oldest first, so that what is left of a record's history has no gap. Those that the oldest job of their
 * tenant may have made stay as long as that job, whatever their age: it can be reverted.
 */
export async function removeExpiredChanges(db: Database, ttlSeconds: number): Promise<{ changes: number }> {
  // why with ties: changes of one moment may be of one record
  const { rowCount } = await db.query(sql`
    delete from docket.changes c
    using (
      select o.tenant_id, o.collection, o.record_id, o.version, o.job_id, o.item_index from docket.changes o
      where o.changed_at < now() - make_interval(secs => ${ttlSeconds})
        and o.changed_at < coalesce(
          (select j.created_at from docket.jobs j where j.tenant_id = o.tenant_id order by j.job_id limit 1), 'infinity')
      order by o.changed_at fetch first (${stepRows}::int) rows with ties
    ) e
    where c.tenant_id = e.tenant_id and c.collection = e.collection and c.record_id = e.record_id
      and c.version = e.version and c.job_id = e.job_id and c.item_index = e.item_index`);
  return { changes: rowCount };
}

/** Removes usage of months that are not shown any more. */
export async function removeExpiredUsage(db: Database): Promise<{ usage: number }> {
  const { rowCount } = await db.query(sql`
    delete from docket.usage u
    using (
      select tenant_id, day, slot from docket.usage
      where day < date_trunc('month', now() at time zone 'utc') - make_interval(months => ${usageMonths - 1})
      order by day limit ${stepRows}
    ) e
    where u.tenant_id = e.tenant_id and u.day = e.day and u.slot = e.slot`);
  return { usage: rowCount };
}
