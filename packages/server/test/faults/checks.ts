import type pg from 'pg';
import { expect } from 'vitest';
import { assertInvariants, assertUsage } from '../../../engine/test/invariants.ts';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { casesTable } from '../cases-table.ts';
import type { Operation } from './workload.ts';

const isOpen = "status not in ('completed', 'cancelled', 'failed')";

export async function countOpenJobs(sql: pg.Pool): Promise<number> {
  const { rows } = await sql.query(`select count(*)::int as open from docket.jobs where ${isOpen}`);
  return rows[0].open;
}

/** Lets the leases of uploads pass whose process is dead; nobody uploads any more. */
export async function expireUploads(sql: pg.Pool): Promise<void> {
  await sql.query(`update docket.jobs set expires_at = now() where ${isOpen} and total = 0`);
}

/** What the clients were told against what the database holds. No client writes, and all jobs have ended. */
export async function checkRound(sql: pg.Pool, operations: readonly Operation[]): Promise<void> {
  await assertInvariants(sql, [casesTable]);
  await assertUsage(sql);
  await checkNothingIsLeft(sql);
  const applied = await readApplied(sql);
  const jobs = await readJobs(sql);
  const records = await readRecords(sql);
  for (const operation of operations) {
    checkJobs(operation, jobs.get(nameIn(operation.tenant.id, operation.name)) ?? []);
    checkItems(operation, applied, records);
  }
}

async function checkNothingIsLeft(sql: pg.Pool): Promise<void> {
  const { rows } = await sql.query('select count(*)::int as listed from docket.runnable_jobs');
  expect(rows[0].listed, 'jobs on the dispatch list').toBe(0);
  await waitUntil(
    async () => {
      const { rows } = await sql.query(
        `select 1 from pg_stat_activity where datname = current_database() and application_name like 'docket%'
           and state like 'idle in transaction%' and state_change < now() - interval '100 ms'
         union all
         select 1 from pg_locks where locktype = 'advisory'
           and database = (select oid from pg_database where datname = current_database())`,
      );
      return rows.length === 0;
    },
    'no transaction and no advisory lock is left over',
    10_000,
  );
}

const nameIn = (tenantId: string, name: string) => `${tenantId} ${name}`;

/** How often each title was written by jobs that do what clients asked, and not undo it; in the order of versions. */
async function readApplied(sql: pg.Pool): Promise<Map<string, { times: number; version: number }>> {
  const { rows } = await sql.query<{ tenant_id: string; title: string; version: number }>(
    `select c.tenant_id, c.after->>'title' as title, c.version
     from docket.changes c join docket.jobs j using (tenant_id, job_id)
     where c.collection = 'cases' and j.operation not in ('revert', 'create')`,
  );
  const applied = new Map<string, { times: number; version: number }>();
  for (const { tenant_id, title, version } of rows) {
    const key = nameIn(tenant_id, title);
    applied.set(key, { times: (applied.get(key)?.times ?? 0) + 1, version });
  }
  return applied;
}

interface StoredJob {
  status: string;
  operation: string;
  total: number;
}

async function readJobs(sql: pg.Pool): Promise<Map<string, StoredJob[]>> {
  const { rows } = await sql.query<StoredJob & { tenant_id: string; label: string }>(
    `select tenant_id, label, status, operation, total from docket.jobs where label is not null`,
  );
  return Map.groupBy(rows, ({ tenant_id, label }) => nameIn(tenant_id, label));
}

async function readRecords(sql: pg.Pool): Promise<Map<string, { [operation: string]: number }>> {
  const { rows } = await sql.query(`select tenant_id, case_id, data from docket.cases`);
  return new Map(rows.map(({ tenant_id, case_id, data }) => [nameIn(tenant_id, case_id), data]));
}

/** A request that was repeated made one job. An upload that broke off left nothing but the word that it failed. */
function checkJobs({ name, kind, told, items }: Operation, jobs: readonly StoredJob[]): void {
  const made = jobs.filter(({ operation }) => operation === 'update');
  const whole = made.filter(({ status }) => status !== 'failed');
  for (const { status, total } of made) {
    expect([status, total], `the job of ${name} (${kind}) holds all of its items or failed`).toEqual([
      status,
      status === 'failed' ? 0 : items.length,
    ]);
  }
  if (kind === 'item keys' || kind === 'one') return;
  if (told === 'unknown') expect(whole.length, `jobs of ${name}, of which nothing is known`).toBeLessThanOrEqual(1);
  else expect(whole.length, `jobs of ${name} (${kind})`).toBe(1);
  if (kind !== 'upload') expect(made.length, `jobs of ${name} (${kind}), also failed ones`).toBe(1);
}

/** Each item that was told to have succeeded left exactly one change, each other one none. */
function checkItems(
  { name, kind, told, tenant, items, succeeded, reverted }: Operation,
  applied: ReadonlyMap<string, { times: number; version: number }>,
  records: ReadonlyMap<string, { [operation: string]: number }>,
): void {
  const found = items.map(({ fields }) => applied.get(nameIn(tenant.id, fields.title)));
  const times = found.map((one) => one?.times ?? 0);
  const all = told === 'unknown' && times.some((count) => count > 0);
  const wanted = items.map((_, index) => (all || succeeded.has(index) ? 1 : 0));
  expect(times, `changes of each item of ${name} (${kind}, ${told})`).toEqual(wanted);

  const last = new Map<string, number>();
  for (const [index, { id }] of items.entries()) {
    if (wanted[index] === 0) continue;
    const before = last.get(id);
    if (before !== undefined) {
      expect(found[index]?.version, `${name} applied ${id} in order`).toBeGreaterThan(found[before]?.version as number);
    }
    last.set(id, index);
  }
  if (reverted) return;
  for (const [id, index] of last) {
    expect(records.get(nameIn(tenant.id, id))?.[name], `what ${name} wrote to ${id} (${kind}) is there`).toBe(index);
  }
}
