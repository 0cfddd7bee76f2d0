import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { pickRunnableJob } from '../../src/storage/dispatch-store.ts';
import { type Fixture, openFixture } from '../widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
beforeEach(() => fixture.sql.query('truncate docket.runnable_jobs'));
afterAll(() => fixture?.close());

const uuid = (n: number) => `00000000-0000-7000-8000-00000000000${n}`;
const add = (tenant: string, n: number, priority = 1) =>
  fixture.sql.query('insert into docket.runnable_jobs (tenant_id, job_id, priority) values ($1, $2, $3)', [
    tenant,
    uuid(n),
    priority,
  ]);
const pick = async (except: number[] = []) =>
  (await pickRunnableJob(fixture.engine.pool, except.map(uuid)))?.jobUuid.at(-1);
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

test('jobs to leave out are left out', async () => {
  await add('a', 1);
  await add('a', 2);
  expect(await pick([1])).toBe('2');
  expect(await pick([1, 2])).toBeUndefined();
});
