import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { type Fixture, openFixture, resultsOf, verdicts } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

/** The same batch at once and as a job must fail the same items, each alone. */
const ways = [{ mode: 'sync' }, { mode: 'async', waitForCompletion: true }] as const;

test.each(ways)('a check constraint fails its item alone, $mode', async (options) => {
  const ids = await fixture.reseed(40);
  const items = ids.map((id, index) => ({ id, fields: { size: index === 7 || index === 30 ? 13 : 50 } }));
  const results = await resultsOf(fixture.submit({ items, options }));
  expect(results.filter((one) => one.status === 'failed').map((one) => [one.index, one.error])).toEqual(
    [7, 30].map((index) => [
      index,
      { code: 'constraint_violation', message: expect.stringContaining('widgets_size_check'), field: 'size' },
    ]),
  );
  expect(results.filter((one) => one.status === 'succeeded')).toHaveLength(38);
  const { rows } = await fixture.sql.query(`select count(*)::int as n from widgets where size = 50`);
  expect(rows[0].n).toBe(38);
});

test.each(ways)('a deferred unique constraint fails its item alone, $mode', async (options) => {
  const ids = await fixture.reseed(20);
  const items = ids.map((id, index) => ({ id, fields: { name: index === 4 ? 'name 19' : `new ${index}` } }));
  const results = await resultsOf(fixture.submit({ items: items.slice(0, 10), options }));
  expect(verdicts(results).filter((one) => one !== 'changed')).toEqual(['constraint_violation']);
  expect(results[4]?.error).toMatchObject({ message: expect.stringContaining('widgets_name_once'), field: 'name' });
});

test.each(ways)('names that swap within a batch break no deferred constraint, $mode', async (options) => {
  await fixture.reseed(2);
  const items = [
    { id: 'w0', fields: { name: 'name 1' } },
    { id: 'w1', fields: { name: 'name 0' } },
  ];
  expect(verdicts(await resultsOf(fixture.submit({ items, options })))).toEqual(['changed', 'changed']);
});

test.each(ways)('a row that a trigger skips is never told as applied, $mode', async (options) => {
  const ids = await fixture.reseed(10);
  await fixture.sql.query(`update widgets set note = 'frozen' where widget_id in ('w3', 'w9')`);
  const items = ids.map((id) => ({ id, fields: { size: 6 } }));
  const results = await resultsOf(fixture.submit({ items, options }));
  expect(results.filter((one) => one.status === 'failed').map((one) => [one.id, one.error?.code])).toEqual([
    ['w3', 'constraint_violation'],
    ['w9', 'constraint_violation'],
  ]);
  const { rows } = await fixture.sql.query(`select widget_id from widgets where size <> 6 order by 1`);
  expect(rows.map((row) => row.widget_id)).toEqual(['w3', 'w9']);
});

test.each(ways)('a value that its column cannot hold fails its item alone, $mode', async (options) => {
  await fixture.reseed(3);
  const items = ['w0', 'w1', 'w2'].map((id, index) => ({ id, fields: { size: index === 1 ? 3_000_000_000 : 4 } }));
  const results = await resultsOf(fixture.submit({ items, options }));
  expect(verdicts(results)).toEqual(['changed', 'constraint_violation', 'changed']);
});

test.each(ways)('repeats of an id go on from what the failed one left, $mode', async (options) => {
  await fixture.reseed(1);
  const items = [4, 13, 5, 13].map((size) => ({ id: 'w0', fields: { size } }));
  expect(verdicts(await resultsOf(fixture.submit({ items, options })))).toEqual([
    'changed',
    'constraint_violation',
    'changed',
    'constraint_violation',
  ]);
  expect((await fixture.engine.readRecord('acme', 'widgets', 'w0'))?.version).toBe(3);
});

test('failures on the data count for maxErrors, and stop what comes behind', async () => {
  const ids = await fixture.reseed(8);
  const items = ids.map((id, index) => ({ id, fields: { size: index % 3 === 1 ? 13 : 7 } }));
  const results = await resultsOf(fixture.submit({ items, options: { maxErrors: 2 } }));
  expect(verdicts(results)).toEqual([
    'changed',
    'constraint_violation',
    'changed',
    'changed',
    'constraint_violation',
    'stopped',
    'stopped',
    'stopped',
  ]);
});

test.each(ways)('an atomic batch with such an item applies nothing, $mode', async (options) => {
  const ids = await fixture.reseed(5);
  const items = ids.map((id, index) => ({ id, fields: { size: index === 3 ? 13 : 7 } }));
  const results = await resultsOf(fixture.submit({ items, options: { ...options, atomic: true } }));
  expect(verdicts(results)).toEqual(['stopped', 'stopped', 'stopped', 'constraint_violation', 'stopped']);
  const { rows } = await fixture.sql.query(`select distinct size, version from widgets`);
  expect(rows).toEqual([{ size: 1, version: 1 }]);
});

test('creations that break a constraint fail alone', async () => {
  await fixture.reseed(1);
  const items = [
    { id: 'n1', fields: { name: 'n1' } },
    { id: 'n2', fields: { name: 'name 0' } },
    { id: 'w0', fields: { name: 'n3' } },
    { id: 'n4', fields: { name: 'n4', size: 13 } },
    { id: 'n5', fields: { name: 'n5' } },
  ];
  const results = await resultsOf(fixture.submit(items, { operation: 'create' }));
  expect(verdicts(results)).toEqual([
    'changed',
    'constraint_violation',
    'already_exists',
    'constraint_violation',
    'changed',
  ]);
});

test('a dry run writes nothing, so that constraints of the table are not seen', async () => {
  await fixture.reseed(1);
  const [result] = await resultsOf(
    fixture.submit({ items: [{ id: 'w0', fields: { size: 13 } }], options: { dryRun: true } }),
  );
  expect(result).toMatchObject({ status: 'succeeded', after: { size: 13 } });
});

test('the message of the database, which may hold values of rows, is not shown', async () => {
  await fixture.reseed(2);
  const results = await resultsOf(fixture.submit([{ id: 'w0', name: 'name 1' }]));
  expect(JSON.stringify(results)).not.toContain('Key (');
});
