import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type PickOptions, pickRunnableJob } from '../../src/storage/dispatch-store.ts';
import { type Fixture, openFixture } from '../widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
beforeEach(() => fixture.sql.query('truncate docket.runnable_jobs, docket.tenant_turns'));
afterAll(() => fixture?.close());

const uuid = (n: number) => `00000000-0000-7000-8000-00000000000${n}`;
const add = (tenant: string, n: number, priority = 1) =>
  fixture.sql.query('insert into docket.runnable_jobs (tenant_id, job_id, priority) values ($1, $2, $3)', [
    tenant,
    uuid(n),
    priority,
  ]);
const pick = async (options: Partial<PickOptions> = {}) =>
  (
    await pickRunnableJob(fixture.engine.pool, { except: [], onlyNew: false, anyPriority: false, ...options })
  )?.jobUuid.at(-1);
const remove = (n: number) => fixture.sql.query('delete from docket.runnable_jobs where job_id = $1', [uuid(n)]);
async function picks(times: number): Promise<string> {
  let all = '';
  for (let n = 0; n < times; n++) all += await pick();
  return all;
}

test('an empty list gives nothing', async () => {
  expect(await pick()).toBeUndefined();
});

test('jobs of one tenant take turns', async () => {
  for (const n of [1, 2, 3]) await add('a', n);
  expect(await picks(6)).toBe('123123');
});

test('tenants take turns, however many jobs one of them has', async () => {
  for (const n of [1, 2, 3]) await add('a', n);
  await add('b', 9);
  const order = await picks(8);
  expect([...order].filter((job) => job === '9')).toHaveLength(4);
  expect(order).not.toMatch(/99|[123][123][123]/);
});

test('a higher priority goes first', async () => {
  await add('a', 1, 0);
  await add('b', 2, 2);
  expect(await picks(3)).toBe('222');
});

test('a tenant whose jobs end at once, and who always has a new one, leaves the others their turns', async () => {
  await add('b', 9);
  let order = '';
  for (let n = 1; n <= 6; n++) {
    await add('a', n);
    const first = await pick();
    if (first !== '9') await remove(Number(first));
    order += first;
    order += await pick();
    for (const left of [1, 2, 3, 4, 5, 6]) await remove(left);
  }
  expect([...order].filter((job) => job === '9')).toHaveLength(6);
  expect(order).not.toMatch(/99|[1-6][1-6]/);
});

test('a new job goes ahead of those of its tenant, but not of one that waits for a second', async () => {
  await add('a', 1);
  await pick();
  await add('a', 2);
  expect(await pick()).toBe('2');
  await fixture.sql.query(`update docket.runnable_jobs set served_at = now() - interval '1.1 seconds'`);
  await fixture.sql.query(`update docket.runnable_jobs set served_at = now() where job_id = $1`, [uuid(2)]);
  await add('a', 3);
  expect(await picks(2)).toBe('13');
});

test('priorities are passed over when asked for', async () => {
  await add('a', 1, 2);
  await add('b', 2, 0);
  expect(await pick()).toBe('1');
  expect(await pick({ anyPriority: true })).toBe('2');
  await add('b', 3, 1);
  await remove(1);
  expect(await pick()).toBe('3');
  await fixture.sql.query(`update docket.runnable_jobs set served_at = now() - interval '1 minute' where job_id = $1`, [
    uuid(2),
  ]);
  expect(await pick({ anyPriority: true })).toBe('2');
});

test('only new jobs are picked when asked for, each of them once', async () => {
  await add('a', 1);
  await add('b', 2);
  expect(await pick()).toBe('1');
  expect(await pick({ onlyNew: true })).toBe('2');
  expect(await pick({ onlyNew: true })).toBeUndefined();
});

test('says whether another tenant waits', async () => {
  const othersWait = async () =>
    (await pickRunnableJob(fixture.engine.pool, { except: [], onlyNew: false, anyPriority: false }))?.othersWait;
  await add('a', 1);
  await add('a', 2);
  expect(await othersWait()).toBe(false);
  await add('b', 3);
  expect(await othersWait()).toBe(true);
});

test('of ten thousand jobs the next is found through the index', async () => {
  await fixture.sql.query(
    `insert into docket.runnable_jobs (tenant_id, job_id, priority)
     select 'tenant ' || n % 20, gen_random_uuid(), 1 from generate_series(1, 10000) n`,
  );
  await fixture.sql.query('analyze docket.runnable_jobs');
  const before = await rowsRead();
  await pick();
  expect((await rowsRead()) - before).toBeLessThan(500);

  async function rowsRead(): Promise<number> {
    await fixture.sql.query('select pg_stat_force_next_flush()');
    const { rows } = await fixture.sql.query(
      `select seq_tup_read + idx_tup_fetch as read from pg_stat_user_tables where relname = 'runnable_jobs'`,
    );
    return Number(rows[0].read);
  }
});

test('jobs to leave out are left out', async () => {
  await add('a', 1);
  await add('a', 2);
  expect(await pick({ except: [uuid(1)] })).toBe('2');
  expect(await pick({ except: [uuid(1), uuid(2)] })).toBeUndefined();
});
