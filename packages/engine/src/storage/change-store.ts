import type { Change } from '../domain/decide.ts';
import { presentJobId } from '../domain/ids.ts';
import type { JsonObject } from '../domain/json.ts';
import type { Database } from './database.ts';
import { empty, sql } from './sql.ts';

/** Records the effect of each item that really changed a record. */
export async function insertChanges(
  db: Database,
  params: {
    tenantId: string;
    collection: string;
    jobUuid: string;
    actor: string;
    changedAt: string;
    changes: readonly Change[];
  },
): Promise<void> {
  const { changes } = params;
  await db.query(sql`
    insert into docket.changes (tenant_id, collection, record_id, version, job_id, item_index, actor, changed_at, before, after)
    select ${params.tenantId}, ${params.collection}, u.record_id, u.version, ${params.jobUuid}::uuid, u.item_index,
      ${params.actor}, ${params.changedAt}::timestamptz, u.before, u.after
    from unnest(${changes.map((one) => one.id)}::text[], ${changes.map((one) => one.version ?? 0)}::int[],
        ${changes.map((one) => one.index)}::int[],
        ${changes.map((one) => (one.before === null ? null : JSON.stringify(one.before)))}::json[],
        ${changes.map((one) => JSON.stringify(one.after))}::json[])
      as u(record_id, version, item_index, before, after)`);
}

/** What a job changed of some records, each record's changes in the order in which they happened. */
export async function changesOfJob(
  db: Database,
  params: { tenantId: string; collection: string; jobUuid: string; ids: readonly string[] },
): Promise<Change[]> {
  const { rows } = await db.query<Omit<ChangeRow, 'job_id' | 'actor' | 'changed_at'> & { record_id: string }>(sql`
    select record_id, version, item_index, before, after from docket.changes
    where tenant_id = ${params.tenantId} and collection = ${params.collection}
      and record_id = any(${params.ids}::text[]) and job_id = ${params.jobUuid}
    order by record_id, version, item_index`);
  return rows.map((row) => ({
    id: row.record_id,
    version: row.version === 0 ? null : row.version,
    index: row.item_index,
    before: row.before,
    after: row.after,
  }));
}

/** One change of a record, as its history tells it. `before` is null for its creation, `version` where its table has none. */
export interface HistoryEntry {
  version: number | null;
  jobId: string;
  index: number;
  actor: string;
  changedAt: string;
  before: JsonObject | null;
  after: JsonObject;
}

interface ChangeRow {
  version: number;
  job_id: string;
  item_index: number;
  actor: string;
  changed_at: string;
  before: JsonObject | null;
  after: JsonObject;
}

/** Changes of one record, newest first, behind the given one. */
export async function listChanges(
  db: Database,
  params: {
    tenantId: string;
    collection: string;
    id: string;
    limit: number;
    after: { version: number; jobUuid: string; index: number } | undefined;
  },
): Promise<HistoryEntry[]> {
  const { after } = params;
  const behind = after
    ? sql`and (version, job_id, item_index) < (${after.version}::int, ${after.jobUuid}::uuid, ${after.index}::int)`
    : empty;
  const { rows } = await db.query<ChangeRow>(sql`
    select version, job_id, item_index, actor, changed_at, before, after from docket.changes
    where tenant_id = ${params.tenantId} and collection = ${params.collection} and record_id = ${params.id} ${behind}
    order by version desc, job_id desc, item_index desc limit ${params.limit}`);
  return rows.map((row) => ({
    version: row.version === 0 ? null : row.version,
    jobId: presentJobId(row.job_id),
    index: row.item_index,
    actor: row.actor,
    changedAt: row.changed_at,
    before: row.before,
    after: row.after,
  }));
}
