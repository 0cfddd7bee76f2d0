import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { type Fixture, openFixture, resultsOf, submissionOf, verdicts } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

const tableState = async () =>
  (await fixture.sql.query('select widget_id, name, status, size, note, tags, version from widgets order by 1')).rows;

test('a small batch is answered with a result for each item, in request order', async () => {
  await fixture.reseed(3);
  const outcome = await fixture.submit([
    { widgetId: 'w2', status: 'active' },
    { widgetId: 'nobody', status: 'active' },
    { widgetId: 'w0', status: 'retired' },
    { widgetId: 'w1', name: 'name 1' },
    { widgetId: 'w1', colour: 'red' },
  ]);
  expect(outcome.kind).toBe('results');
  if (outcome.kind !== 'results') return;
  expect(outcome.results?.map((one) => one.id)).toEqual(['w2', 'nobody', 'w0', 'w1', 'w1']);
  expect(verdicts(outcome.results ?? [])).toEqual([
    'changed',
    'not_found',
    'invalid_transition',
    'unchanged',
    'unknown_field',
  ]);
  expect(outcome.job).toMatchObject({
    status: 'completed',
    synchronous: true,
    summary: { total: 5, succeeded: 2, failed: 3, notProcessed: 0 },
  });
});

test('a job applies every item, and a read after its end sees it', async () => {
  await fixture.reseed(1);
  const outcome = await fixture.submit({ items: [{ id: 'w0', fields: { size: 5 } }], options: { mode: 'async' } });
  expect(outcome).toMatchObject({ kind: 'job', job: { status: 'pending', synchronous: false } });
  const job = await fixture.engine.waitForJob('acme', outcome.job.jobId, 10_000);
  expect(job.status).toBe('completed');
  expect((await fixture.engine.readRecord('acme', 'widgets', 'w0'))?.fields.size).toBe(5);
});

test('the same batch at once and as a job gives the same results and the same table', async () => {
  const items = Array.from({ length: 300 }, (_, n) => ({
    id: `w${(n * 7) % 110}`,
    fields: [
      { status: 'active' },
      { status: 'retired' },
      { size: n % 20 },
      { tags: { [`k${n % 3}`]: n } },
      { note: n % 2 ? 'x' : null },
      { colour: n },
      { name: `name ${n % 4}` },
    ][n % 7],
    ...(n % 11 === 0 ? { version: 2 } : {}),
    ...(n % 5 === 0 ? { ref: `line ${n}` } : {}),
  }));
  const runs = [];
  for (const options of [{ mode: 'sync' }, { mode: 'async', waitForCompletion: true }]) {
    await fixture.reseed(100);
    const results = await resultsOf(fixture.submit({ items, options } as never));
    for (const { resource } of results) if (resource) resource.updatedAt = resource.createdAt = 'some time';
    runs.push({ results, table: await tableState() });
  }
  expect(runs[1]).toEqual(runs[0]);
  const kinds = new Set(verdicts(runs[0]?.results ?? []));
  expect(kinds.size).toBeGreaterThanOrEqual(6);
});

describe('what the answer holds', () => {
  test('the resource as it is after the item, unless minimal is asked for', async () => {
    await fixture.reseed(1);
    const items = [{ id: 'w0', fields: { size: 2 } }];
    const [full] = await resultsOf(fixture.submit({ items }));
    expect(full?.resource).toEqual(
      expect.objectContaining({ widgetId: 'w0', size: 2, version: 2, updatedAt: expect.stringMatching(/Z$/) }),
    );
    const [minimal] = await resultsOf(fixture.submit({ items, options: { return: 'minimal' } }));
    expect(minimal).not.toHaveProperty('resource');
  });

  test('more than fit into one answer are read page by page', async () => {
    await fixture.reseed(1200);
    const items = Array.from({ length: 1200 }, (_, n) => ({ id: `w${n}`, fields: { size: 3 } }));
    const outcome = await fixture.submit({ items, options: { waitForCompletion: true } });
    expect(outcome).toMatchObject({ kind: 'results', results: null, job: { status: 'completed' } });
  });

  test('a wait that ends before the job gives the job', async () => {
    await fixture.reseed(1);
    const idle = await fixture.createEngine();
    const other = await fixture.sql.connect();
    await other.query(`begin; select 1 from widgets for update`);
    try {
      const outcome = await idle.submit({
        ...submissionOf(idle, [{ id: 'w0', size: 9 }]),
        prefer: { respondAsync: true, waitSeconds: 0.05 },
      });
      expect(outcome).toMatchObject({ kind: 'job', job: { status: expect.stringMatching(/pending|running/) } });
      await other.query('rollback');
      expect((await idle.waitForJob('acme', outcome.job.jobId, 15_000)).status).toBe('completed');
    } finally {
      other.release();
    }
  });
});

describe('repeats of an id', () => {
  test('apply in request order, across chunks too', async () => {
    await fixture.reseed(3);
    const items = Array.from({ length: 2500 }, (_, n) => ({ id: `w${n % 3}`, fields: { size: 100 + n } }));
    const outcome = await fixture.submit({ items, options: { mode: 'async' } });
    await fixture.engine.waitForJob('acme', outcome.job.jobId, 20_000);
    expect((await tableState()).map((row) => [row.size, row.version])).toEqual([
      [2599, 835],
      [2597, 834],
      [2598, 834],
    ]);
    const { rows } = await fixture.sql.query(
      `select record_id, array_agg(item_index order by version) = array_agg(item_index order by item_index) as ordered
       from docket.changes group by 1`,
    );
    expect(rows.every((row) => row.ordered)).toBe(true);
  });
});

describe('atomic', () => {
  test('applies nothing when an item fails, and says so of each', async () => {
    await fixture.reseed(3);
    const before = await tableState();
    const items = ['w0', 'nobody', 'w1'].map((id) => ({ id, fields: { size: 5 } }));
    const outcome = await fixture.submit({ items, options: { atomic: true } });
    expect(verdicts(await resultsOf(Promise.resolve(outcome)))).toEqual(['stopped', 'not_found', 'stopped']);
    expect(outcome.job.summary).toEqual({ total: 3, succeeded: 0, failed: 1, notProcessed: 2 });
    expect(await tableState()).toEqual(before);
  });
  test('applies everything when none does', async () => {
    await fixture.reseed(3);
    const items = ['w0', 'w1'].map((id) => ({ id, fields: { size: 5 } }));
    expect(verdicts(await resultsOf(fixture.submit({ items, options: { atomic: true } })))).toEqual([
      'changed',
      'changed',
    ]);
  });
});

describe('maxErrors', () => {
  test('stops a synchronous batch', async () => {
    await fixture.reseed(4);
    const items = ['x', 'w0', 'y', 'w1'].map((id) => ({ id, fields: { size: 5 } }));
    expect(verdicts(await resultsOf(fixture.submit({ items, options: { maxErrors: 2 } })))).toEqual([
      'not_found',
      'changed',
      'not_found',
      'stopped',
    ]);
  });
  test('stops a job, over several chunks', async () => {
    await fixture.reseed(1);
    const items = Array.from({ length: 3000 }, (_, n) => ({
      id: n === 999 || n >= 1500 ? `none ${n}` : 'w0',
      fields: { size: n },
    }));
    const outcome = await fixture.submit({ items, options: { mode: 'async', maxErrors: 3 } });
    const job = await fixture.engine.waitForJob('acme', outcome.job.jobId, 20_000);
    expect(job.summary).toEqual({ total: 3000, succeeded: 1499, failed: 3, notProcessed: 1498 });
    const stopped = await fixture.engine.jobResults({
      tenantId: 'acme',
      jobId: job.jobId,
      status: 'not_processed',
      limit: 1,
    });
    expect(stopped.items[0]).toMatchObject({ index: 1502, error: { code: 'stopped' } });
  });
});

describe('creation', () => {
  const create = { operation: 'create' } as const;
  test('makes records with their defaults, and tells of those that exist', async () => {
    await fixture.reseed(1);
    const results = await resultsOf(
      fixture.submit(
        [
          { widgetId: 'n1', name: 'one' },
          { widgetId: 'w0', name: 'x' },
          { name: 'two' },
          { widgetId: 'n1', name: 'y' },
        ],
        create,
      ),
    );
    expect(verdicts(results)).toEqual(['changed', 'already_exists', 'changed', 'already_exists']);
    expect((await fixture.engine.readRecord('acme', 'widgets', 'made-0'))?.fields).toMatchObject({
      name: 'two',
      status: 'draft',
    });
    expect((await fixture.engine.readRecord('acme', 'widgets', 'n1'))?.version).toBe(1);
  });

  test('of the same ids at once has one winner for each', async () => {
    await fixture.reseed(0);
    const ids = Array.from({ length: 30 }, (_, n) => `n${n}`);
    const batches = await Promise.all(
      Array.from({ length: 8 }, (_, batch) => {
        const order = batch % 2 ? ids : ids.toReversed();
        const options = batch % 4 === 3 ? { mode: 'async', waitForCompletion: true } : {};
        return resultsOf(
          fixture.submit(
            { items: order.map((id) => ({ id, fields: { name: `${id} of ${batch}` } })), options } as never,
            create,
          ),
        );
      }),
    );
    for (const id of ids) {
      const verdictsOfId = batches.map((results) => results.find((one) => one.id === id)?.error?.code ?? 'created');
      expect(verdictsOfId.toSorted()).toEqual([...Array(7).fill('already_exists'), 'created']);
    }
  });

  test('of an id that the column cannot hold as it is fails that item', async () => {
    await fixture.sql.query('truncate gadgets');
    const items = ['7', '007', 'seven', '8'].map((id) => ({ id, fields: { label: 'L', count: 1 } }));
    const results = await resultsOf(fixture.submit({ items }, { ...create, collection: 'gadgets' }));
    expect(verdicts(results)).toEqual(['changed', 'validation_failed', 'validation_failed', 'changed']);
    expect((await fixture.sql.query('select id from gadgets order by 1')).rows).toEqual([{ id: 7 }, { id: 8 }]);
  });
});

describe('a selection', () => {
  const select = (rest: object) => fixture.submit({ where: { size: 1 }, fields: { size: 2 }, ...rest } as never);

  test('is applied to what it holds', async () => {
    await fixture.reseed(5);
    await fixture.submit([{ id: 'w1', size: 7 }]);
    expect((await resultsOf(select({ expectedCount: 4 }))).map((one) => one.id)).toEqual(['w0', 'w2', 'w3', 'w4']);
  });
  test('that holds another number than expected is refused', async () => {
    await fixture.reseed(5);
    await expect(select({ expectedCount: 4 })).rejects.toMatchObject({
      code: 'expected_count_mismatch',
      details: { actual: 5, extra: { expected: 4 } },
    });
    expect((await fixture.sql.query('select * from docket.jobs')).rows).toEqual([]);
  });
  test('that is large is counted in the moment it is taken, and leaves nothing when it is refused', async () => {
    await fixture.reseed(1_200);
    await expect(select({ expectedCount: 1_001 })).rejects.toMatchObject({
      code: 'expected_count_mismatch',
      details: { actual: 1_200 },
    });
    for (const options of [{ mode: 'sync' }, { atomic: true }]) {
      await expect(select({ options })).rejects.toMatchObject({
        code: 'batch_too_large',
        details: { limit: 1_000, actual: 1_200 },
      });
    }
    expect((await fixture.sql.query('select 1 from docket.jobs, docket.job_chunks')).rows).toEqual([]);
    const { job } = await select({ expectedCount: 1_200 });
    expect(job.summary.total).toBe(1_200);
    await fixture.engine.waitForJob('acme', job.jobId, 15_000);
  });
  test.each([{}, { mode: 'async' }])('that is empty completes at once, %j', async (options) => {
    await fixture.reseed(1);
    const outcome = await fixture.submit({ where: { size: 99 }, fields: { size: 2 }, options } as never);
    expect(outcome).toMatchObject({
      kind: 'results',
      results: [],
      job: { status: 'completed', summary: { total: 0 } },
    });
  });
  test('of more than one answer holds becomes a job of all of them', async () => {
    await fixture.reseed(2300);
    const outcome = await select({ expectedCount: 2300 });
    expect(outcome.kind).toBe('job');
    const job = await fixture.engine.waitForJob('acme', outcome.job.jobId, 20_000);
    expect(job.summary).toEqual({ total: 2300, succeeded: 2300, failed: 0, notProcessed: 0 });
    expect((await fixture.sql.query('select distinct size, version from widgets')).rows).toEqual([
      { size: 2, version: 2 },
    ]);
  });
  test('with an unknown filter is refused', async () => {
    await expect(fixture.submit({ where: { colour: 1 }, fields: {} })).rejects.toMatchObject({
      code: 'unknown_option',
    });
  });
});

test('an unknown collection, and one of another tenant, is refused', async () => {
  const submission = { content: { kind: 'items', items: [] }, operation: 'update', actor: 'x' } as never as object;
  const { options } = submissionOf(fixture.engine, [{ id: 'w0' }]);
  for (const [tenantId, collection] of [
    ['acme', 'nothings'],
    ['other', 'gadgets'],
    ['acme', 'toString'],
  ]) {
    const whole = { ...submission, tenantId, collection, options } as never;
    await expect(fixture.engine.submit(whole)).rejects.toMatchObject({ code: 'unknown_collection' });
  }
});
