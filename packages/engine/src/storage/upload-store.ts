import { presentJobId } from '../domain/ids.ts';
import type { Json } from '../domain/json.ts';
import type { Database, Pool } from './database.ts';
import { progressColumns, tellProgress } from './job-store.ts';
import { hashToCome } from './key-store.ts';
import { empty, sql } from './sql.ts';

/*
 * A job whose items are still being received is `pending`, has a total of 0 (no other pending job has) and is not on the dispatch
 * list. Its `expires_at` is a lease that the receiving process extends; once it has passed, nobody receives it any more.
 */
const isUploading = sql`status = 'pending' and total = 0`;

/** How long an upload may be without a sign of life from its process, in seconds. */
export const uploadLeaseSeconds = 15;

export interface Upload {
  tenantId: string;
  jobUuid: string;
}

/**
 * Says that the upload is alive and how many items have come in addition, and locks it until the transaction ends. False when it
 * was ended by somebody else.
 */
export async function extendUpload(db: Database, { tenantId, jobUuid }: Upload, items: number): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    update docket.jobs set expires_at = now() + make_interval(secs => ${uploadLeaseSeconds}), received = received + ${items}::int
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and ${isUploading}`);
  return rowCount === 1;
}

/**
 * Makes the received items a job like any other. False when the upload was ended by somebody else, or when less than the total is
 * there: a database that went down and came back has lost what it had not yet made durable.
 */
export async function completeUpload(
  db: Database,
  { tenantId, jobUuid, total, ordered, ttlSeconds }: Upload & { total: number; ordered: boolean; ttlSeconds: number },
): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    with completed as (
      update docket.jobs set total = ${total}, ordered = ordered or ${ordered},
        expires_at = now() + make_interval(secs => ${ttlSeconds})
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and ${isUploading} and received = ${total}
      returning ${progressColumns}
    )
    select ${tellProgress(jobUuid)} from completed`);
  return rowCount === 1;
}

/**
 * Ends an upload as failed and removes what was received, with its idempotency key. Does nothing to a job that is no upload any
 * more, but for the items of one that was ended while they came.
 */
export async function failUpload(
  pool: Pool,
  params: Upload & {
    error: Json;
    ttlSeconds: number;
    onlyAbandoned?: boolean;
    /** Called in the transaction that ends it. */
    onEnd: (db: Database, upload: Upload) => unknown;
  },
): Promise<void> {
  const { tenantId, jobUuid, onlyAbandoned } = params;
  await pool.transaction(async (tx) => {
    const { rowCount } = await tx.query(sql`
      update docket.jobs set status = 'failed', error = ${JSON.stringify(params.error)}::json, completed_at = clock_timestamp(),
        expires_at = now() + make_interval(secs => ${params.ttlSeconds})
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and ${isUploading}
        ${onlyAbandoned ? sql`and expires_at < now()` : empty}`);
    if (rowCount === 0 && onlyAbandoned) return;
    await Promise.all([
      tx.query(sql`
        delete from docket.job_chunks
        where tenant_id = ${tenantId} and job_id = ${jobUuid} and exists (
          select 1 from docket.jobs j
          where j.tenant_id = ${tenantId} and j.job_id = ${jobUuid} and j.total = 0 and j.status <> 'pending')`),
      tx.query(sql`
        delete from docket.idempotency_keys
        where tenant_id = ${tenantId} and job_id = ${jobUuid} and payload_hash = ${hashToCome}`),
      rowCount === 1 && tx.query(sql`select pg_notify('docket_job_ended', ${presentJobId(jobUuid)})`),
      rowCount === 1 && params.onEnd(tx, { tenantId, jobUuid }),
      tx.commit(),
    ]);
  });
}

/** Fails the uploads whose process died. Any process may do it, any number at once. */
export async function failAbandonedUploads(
  pool: Pool,
  { ttlSeconds, onEnd }: { ttlSeconds: number; onEnd: (db: Database, upload: Upload) => unknown },
): Promise<void> {
  // why across tenants: who has died is not known by tenant; the index of open jobs is small
  const { rows } = await pool.query<{ tenant_id: string; job_id: string }>(sql`
    select tenant_id, job_id from docket.jobs where ${isUploading} and expires_at < now() limit 100`);
  const error = { code: 'malformed_body', message: 'The upload broke off: its server stopped. Nothing was applied.' };
  for (const row of rows) {
    await failUpload(pool, {
      tenantId: row.tenant_id,
      jobUuid: row.job_id,
      error,
      ttlSeconds,
      onEnd,
      onlyAbandoned: true,
    });
  }
}
