import type { ItemResult } from '../domain/decide.ts';
import { presentJobId } from '../domain/ids.ts';
import type { Database } from './database.ts';
import { sql } from './sql.ts';

/** Keys are looked up within a tenant; the lock is held until the transaction ends, and not waited for. */
export type KeyClaim =
  | { state: 'free' }
  | { state: 'in_progress' }
  | { state: 'used'; payloadHash: string; jobId: string };

/** A key that somebody has already. */
export type TakenKey = Exclude<KeyClaim, { state: 'free' }>;

/** Stands in for the payload's hash as long as the payload is still being received. */
export const hashToCome = 'uploading';

/**
 * Takes a batch key for this transaction, or says who has it. Two requests with one key never both get `free`; which of them
 * came first is decided by the database, across processes.
 */
export async function claimKey(db: Database, tenantId: string, key: string): Promise<KeyClaim> {
  const lockName = `docket.idempotency ${JSON.stringify([tenantId, key])}`;
  const [lock, used] = await Promise.all([
    db.query<{ granted: boolean }>(sql`select pg_try_advisory_xact_lock(hashtextextended(${lockName}, 0)) as granted`),
    findUsedKey(db, tenantId, key),
  ]);
  return used ?? { state: lock.rows[0]?.granted ? 'free' : 'in_progress' };
}

/** What a batch key was used for, without taking it. */
export async function findUsedKey(db: Database, tenantId: string, key: string): Promise<TakenKey | undefined> {
  const { rows } = await db.query<{ payload_hash: string; job_id: string }>(sql`
    select payload_hash, job_id from docket.idempotency_keys
    where tenant_id = ${tenantId} and key = ${key} and expires_at > now()`);
  const used = rows[0];
  if (used?.payload_hash === hashToCome) return { state: 'in_progress' };
  return used && { state: 'used', payloadHash: used.payload_hash, jobId: presentJobId(used.job_id) };
}

/** Stores a claimed key with the job that it made; commits or vanishes with that job. */
export async function storeKey(
  db: Database,
  params: { tenantId: string; key: string; payloadHash: string; jobUuid: string; ttlSeconds: number },
): Promise<void> {
  await db.query(sql`
    insert into docket.idempotency_keys (tenant_id, key, payload_hash, job_id, created_at, expires_at)
    values (${params.tenantId}, ${params.key}, ${params.payloadHash}, ${params.jobUuid}, now(),
      now() + make_interval(secs => ${params.ttlSeconds}))
    on conflict (tenant_id, key) do update set payload_hash = excluded.payload_hash, job_id = excluded.job_id,
      created_at = excluded.created_at, expires_at = excluded.expires_at`);
}

/**
 * Takes the keys of items, waiting for other transactions that hold one of them, in key order so that two batches never wait
 * for each other in a circle. Gives back the first results of keys that were applied before.
 */
export async function claimItemKeys(
  db: Database,
  params: { tenantId: string; collection: string; jobUuid: string; keys: readonly string[]; ttlSeconds: number },
): Promise<Map<string, ItemResult>> {
  const keys = [...new Set(params.keys)].sort();
  const [, results] = await Promise.all([
    db.query(sql`
      insert into docket.item_keys (tenant_id, collection, key, job_id, expires_at)
      select ${params.tenantId}, ${params.collection}, u.key, ${params.jobUuid}::uuid,
        now() + make_interval(secs => ${params.ttlSeconds})
      from unnest(${keys}::text[]) as u(key)
      on conflict (tenant_id, collection, key) do update
        set job_id = excluded.job_id, result = null, expires_at = excluded.expires_at
        where item_keys.expires_at <= now()`),
    readItemKeys(db, params),
  ]);
  return results;
}

/** First results of the keys that were applied before. */
export async function readItemKeys(
  db: Database,
  params: { tenantId: string; collection: string; keys: readonly string[] },
): Promise<Map<string, ItemResult>> {
  const { rows } = await db.query<{ key: string; result: ItemResult }>(sql`
    select key, result from docket.item_keys
    where tenant_id = ${params.tenantId} and collection = ${params.collection} and key = any(${params.keys}::text[])
      and result is not null and expires_at > now()`);
  return new Map(rows.map((row) => [row.key, row.result]));
}

/** Keeps the results of applied items under their keys, and lets go of the keys of items that were not applied. */
export async function storeItemResults(
  db: Database,
  params: { tenantId: string; collection: string; jobUuid: string; results: ReadonlyMap<string, ItemResult> },
): Promise<void> {
  const keys = [...params.results.keys()];
  const results = [...params.results.values()].map((result) => JSON.stringify(result));
  await Promise.all([
    db.query(sql`
      update docket.item_keys k set result = u.result
      from unnest(${keys}::text[], ${results}::json[]) as u(key, result)
      where k.tenant_id = ${params.tenantId} and k.collection = ${params.collection} and k.key = u.key
        and k.job_id = ${params.jobUuid}`),
    db.query(sql`
      delete from docket.item_keys
      where tenant_id = ${params.tenantId} and collection = ${params.collection} and job_id = ${params.jobUuid}
        and result is null`),
  ]);
}
