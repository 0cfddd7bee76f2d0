import { isDeepStrictEqual } from 'node:util';
import { zstdDecompressSync } from 'node:zlib';
import type pg from 'pg';
import { expect } from 'vitest';

/** A table of records as its owner mapped it: columns by the public name of their field. */
export interface CheckedTable {
  collection: string;
  table: string;
  id: string;
  columns: Readonly<Record<string, string>>;
}

interface ChangeRow {
  tenant_id: string;
  record_id: string;
  version: number;
  job_id: string;
  item_index: number;
  before: Record<string, unknown> | null;
  after: Record<string, unknown>;
}

interface ResultRow {
  index: number;
  id: string;
  status: 'succeeded' | 'failed' | 'not_processed';
  changed?: boolean;
  replayed?: boolean;
}

/**
 * What must hold in a database at any quiet moment, whatever happened before: the changes of a record form a chain that ends in the
 * record; every item of an ended job has exactly one result, in order; counters are the recount of what they count; no
 * change is without the result that reports it, and no result reports a change that is not there. Where changes have expired, the
 * history of a record may begin later, but still has no gap.
 */
export async function assertInvariants(
  sql: pg.Pool,
  tables: readonly CheckedTable[] = [widgetsTable],
  { changesExpired = false } = {},
): Promise<void> {
  for (const table of tables) await assertChains(sql, table, changesExpired);
  await assertResults(sql);
  await assertDispatchList(sql);
}

export const widgetsTable: CheckedTable = {
  collection: 'widgets',
  table: 'widgets',
  id: 'widget_id',
  columns: { name: 'name', status: 'status', size: 'size', note: 'note', tags: 'tags' },
};

/** Versions rise by one per change, each change starts from what the one before left, and the last one left the record as it is. */
async function assertChains(
  sql: pg.Pool,
  { collection, table, id, columns }: CheckedTable,
  changesExpired: boolean,
): Promise<void> {
  const { rows: changes } = await sql.query<ChangeRow>(
    `select tenant_id, record_id, version, job_id, item_index, before, after from docket.changes
     where collection = $1 order by tenant_id, record_id, version`,
    [collection],
  );
  const fields = Object.entries(columns).map(([name, column]) => `'${name}', "${column}"`);
  const { rows: records } = await sql.query<{ tenant_id: string; id: string; version: number; fields: object }>(
    `select tenant_id, "${id}" as id, version, json_build_object(${fields.join(', ')}) as fields from ${table}`,
  );
  const keyOf = (row: { tenant_id: string }, record: string) => JSON.stringify([row.tenant_id, record]);
  const chains = Map.groupBy(changes, (change) => keyOf(change, change.record_id));
  for (const record of records) {
    const chain = chains.get(keyOf(record, record.id)) ?? [];
    const created = chain[0]?.before === null;
    const start = changesExpired && chain[0] ? chain[0].version - 1 : created ? 0 : 1;
    const where = `${collection} ${record.id} of ${record.tenant_id}`;
    if (chain.length > 0 || !changesExpired) {
      expect(record.version, `the version of ${where} counts its changes`).toBe(start + chain.length);
    }
    const known: Record<string, unknown> = {};
    for (const [offset, change] of chain.entries()) {
      expectSame(change.version, start + 1 + offset, `versions of ${where} rise by one`);
      expectSame(change.before === null, created && offset === 0, `only the first change of ${where} creates it`);
      for (const [name, value] of Object.entries(change.before ?? {})) {
        if (name in known) expectSame(value, known[name], `${name} of ${where} before version ${change.version}`);
      }
      Object.assign(known, change.after);
    }
    expect(record.fields, `${where} is as its last changes left it`).toMatchObject(known);
  }
}

/** As `toEqual`, quicker where all is well: there are very many changes. */
function expectSame(found: unknown, wanted: unknown, what: string): void {
  if (!isDeepStrictEqual(found, wanted)) expect(found, what).toEqual(wanted);
}

async function assertResults(sql: pg.Pool): Promise<void> {
  const { rows: jobs } = await sql.query(
    `select tenant_id, job_id, status, total, succeeded, failed, not_processed, dry_run from docket.jobs`,
  );
  const { rows: reported } = await sql.query<{ job_id: string; indexes: number[] }>(
    `select job_id, array_agg(item_index order by item_index) as indexes from docket.changes group by job_id`,
  );
  const changed = new Map(reported.map((row) => [row.job_id, row.indexes]));
  for (const job of jobs) {
    const { rows: chunks } = await sql.query(
      `select chunk_no, first_index, item_count, state, succeeded, failed, not_processed, items, results
       from docket.job_chunks where tenant_id = $1 and job_id = $2 order by chunk_no`,
      [job.tenant_id, job.job_id],
    );
    const where = `job ${job.job_id}`;
    const counted = { succeeded: 0, failed: 0, not_processed: 0 };
    const changedIndexes: number[] = [];
    let next = 0;
    for (const [offset, chunk] of chunks.entries()) {
      expect([chunk.chunk_no, chunk.first_index], `chunks of ${where} follow each other`).toEqual([offset, next]);
      next += chunk.item_count;
      if (chunk.state === 'pending') continue;
      if (chunk.state === 'cancelled') {
        expect([chunk.not_processed, chunk.results], `cancelled chunk of ${where}`).toEqual([chunk.item_count, null]);
        counted.not_processed += chunk.item_count;
        continue;
      }
      const items = decode<{ id: string }>(chunk.items);
      const results = decode<ResultRow>(chunk.results);
      expect(
        results.map((one) => one.index),
        `results of ${where} are complete and in order`,
      ).toEqual(items.map((_, at) => chunk.first_index + at));
      const own = { succeeded: 0, failed: 0, not_processed: 0 };
      for (const [at, result] of results.entries()) {
        own[result.status] += 1;
        if (!result.replayed) expectSame(result.id, items[at]?.id, `${where}, item ${result.index}`);
        if (result.changed && !result.replayed && !job.dry_run) changedIndexes.push(result.index);
      }
      expect(own, `counts of chunk ${chunk.chunk_no} of ${where}`).toEqual({
        succeeded: chunk.succeeded,
        failed: chunk.failed,
        not_processed: chunk.not_processed,
      });
      for (const status of ['succeeded', 'failed', 'not_processed'] as const) counted[status] += own[status];
    }
    expect(next, `chunks of ${where} hold all of its items`).toBe(job.total);
    expect(counted, `counters of ${where}`).toEqual({
      succeeded: job.succeeded,
      failed: job.failed,
      not_processed: job.not_processed,
    });
    if (['completed', 'cancelled', 'failed'].includes(job.status)) {
      expect(
        chunks.every((chunk) => chunk.state !== 'pending'),
        `${where} has ended, and so have its chunks`,
      ).toBe(true);
    }
    expect(changed.get(job.job_id) ?? [], `recorded changes of ${where}`).toEqual(changedIndexes);
  }
}

async function assertDispatchList(sql: pg.Pool): Promise<void> {
  const { rows } = await sql.query(
    `select j.job_id, j.status, r.job_id is not null as runnable from docket.jobs j
     left join docket.runnable_jobs r on r.tenant_id = j.tenant_id and r.job_id = j.job_id`,
  );
  for (const row of rows) {
    expect(row.runnable, `${row.status} job ${row.job_id} is on the dispatch list`).toBe(
      ['pending', 'running'].includes(row.status),
    );
  }
}

function decode<Value>(blob: Buffer): Value[] {
  return JSON.parse(zstdDecompressSync(blob).toString());
}

/**
 * What was counted for each tenant is the recount of what was taken, at the default prices; no job has been removed. An upload that
 * failed or goes on was not taken.
 */
export async function assertUsage(sql: pg.Pool): Promise<void> {
  const { rows: counted } = await sql.query(
    `select tenant_id, sum(batches)::int as batches, sum(items)::int as items, sum(credits)::float8 as credits
     from docket.usage group by tenant_id order by tenant_id`,
  );
  const { rows: recounted } = await sql.query(
    `select tenant_id, count(*)::int as batches, sum(total)::int as items, sum(case
       when dry_run then 0 when operation in ('update_one', 'create_one') then 1 else 1 + 0.5 * total end)::float8 as credits
     from docket.jobs where status <> 'failed' and not (status = 'pending' and total = 0)
     group by tenant_id order by tenant_id`,
  );
  expect(counted, 'usage is the recount of the batches').toEqual(recounted);
}
