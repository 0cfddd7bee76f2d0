import type { Job, Json } from '@docket/engine';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { holdLocks } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf, submissionOf, verdicts } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

const caller = { tenantId: 'acme', actor: 'boss' };
const sizes = async () => (await fixture.sql.query('select size, version from widgets order by widget_id')).rows;

async function preview(items: Json, rest: object = {}): Promise<Job> {
  const outcome = await fixture.submit(
    { items, options: { dryRun: true, mode: 'async', waitForCompletion: true } },
    rest,
  );
  expect(outcome.job).toMatchObject({ status: 'completed', dryRun: true });
  return outcome.job;
}
async function applied(jobId: string): Promise<{ job: Job; verdicts: string[] }> {
  const { jobId: applying } = await fixture.engine.applyPreview(caller, jobId);
  const job = await fixture.engine.waitForJob('acme', applying, 15_000);
  expect(job.status).toBe('completed');
  const { items } = await fixture.engine.jobResults({ tenantId: 'acme', jobId: applying, limit: 5000 });
  return { job, verdicts: verdicts(items) };
}

test('a dry run of a large selection gives its count and a sample at once', async () => {
  const idle = await openFixture();
  try {
    await idle.seed(1_500);
    await idle.sql.query(`update widgets set status = 'retired' where widget_id = 'w10'`);
    const body = {
      where: {},
      fields: { status: 'active' },
      expectedCount: 1_500,
      options: { dryRun: true },
    };
    const idempotency = { key: 'preview', payloadHash: 'x' };
    const outcome = await idle.submit(body, { idempotency });
    if (outcome.kind !== 'job' || !outcome.sample) throw new Error('There is no sample.');
    expect(outcome.job).toMatchObject({ status: 'pending', dryRun: true, summary: { total: 1_500 } });
    expect(outcome.sample).toHaveLength(100);
    expect(outcome.sample.slice(0, 3)).toMatchObject([
      { index: 0, id: 'w0', before: { status: 'draft' }, after: { status: 'active' } },
      { index: 1, id: 'w1', changed: true, version: 2 },
      { index: 2, id: 'w10', error: { code: 'invalid_transition' } },
    ]);
    expect(await idle.submit(body, { idempotency })).toMatchObject({ replayed: true, sample: [] });
    await idle.engine.startWorkers();
    const job = await idle.engine.waitForJob('acme', outcome.job.jobId, 15_000);
    expect(job.summary).toMatchObject({ succeeded: 1_499, failed: 1 });
    const { items } = await idle.engine.jobResults({ tenantId: 'acme', jobId: job.jobId, limit: 100 });
    expect(items).toEqual(outcome.sample);
    expect(await idle.submit(body, { idempotency })).toMatchObject({ replayed: true, sample: items });
    const { jobId: applying } = await idle.engine.applyPreview(caller, job.jobId);
    const applied = await idle.engine.waitForJob('acme', applying, 15_000);
    expect(applied.summary).toEqual(job.summary);
    await assertInvariants(idle.sql);
    const real = await idle.submit({ ...body, expectedCount: 1_500, options: {} });
    expect(real).toMatchObject({ kind: 'job' });
    expect(real).not.toHaveProperty('sample');
    await idle.engine.waitForJob('acme', real.job.jobId, 15_000);
  } finally {
    await idle.close();
  }
});

test('a dry run changes nothing and shows before and after', async () => {
  await fixture.reseed(2);
  const items = [
    { id: 'w0', fields: { size: 5, note: 'n' } },
    { id: 'w0', fields: { size: 6 } },
    { id: 'w1', fields: { size: 1 } },
    { id: 'w1', fields: { status: 'retired' } },
  ];
  const results = await resultsOf(fixture.submit({ items, options: { dryRun: true } }));
  expect(results).toMatchObject([
    { changed: true, version: 2, before: { size: 1, note: null }, after: { size: 5, note: 'n' } },
    { changed: true, version: 3, before: { size: 5 }, after: { size: 6 } },
    { changed: false, version: 1 },
    { status: 'failed', error: { code: 'invalid_transition' } },
  ]);
  expect(await sizes()).toEqual([
    { size: 1, version: 1 },
    { size: 1, version: 1 },
  ]);
  expect((await fixture.sql.query('select * from docket.changes')).rows).toEqual([]);
});

test('a dry run waits for no lock', async () => {
  await fixture.reseed(1);
  const release = await holdLocks(fixture.sql, 'select 1 from widgets for update');
  try {
    const results = await resultsOf(
      fixture.submit({ items: [{ id: 'w0', fields: { size: 5 } }], options: { dryRun: true } }),
    );
    expect(verdicts(results)).toEqual(['changed']);
  } finally {
    await release();
  }
});

describe('applying a preview', () => {
  test('does exactly what it showed', async () => {
    await fixture.reseed(3);
    const { jobId } = await preview([
      { id: 'w0', fields: { size: 5 } },
      { id: 'w0', fields: { size: 6 } },
      { id: 'nobody', fields: { size: 6 } },
      { id: 'w1', fields: { size: 1 } },
      { id: 'w2', fields: { size: 4 }, ref: 'last' },
    ]);
    const { job, verdicts } = await applied(jobId);
    expect(verdicts).toEqual(['changed', 'changed', 'not_found', 'unchanged', 'changed']);
    expect(job).toMatchObject({ operation: 'apply', parentJobId: jobId, actor: 'boss', dryRun: false });
    expect(await sizes()).toEqual([
      { size: 6, version: 3 },
      { size: 1, version: 1 },
      { size: 4, version: 2 },
    ]);
  });

  test('leaves alone what changed since, also what it would not have changed', async () => {
    await fixture.reseed(3);
    const { jobId } = await preview(['w0', 'w1', 'w2'].map((id) => ({ id, fields: { size: id === 'w1' ? 1 : 5 } })));
    await fixture.submit([
      { id: 'w0', note: 'changed since' },
      { id: 'w1', size: 2 },
    ]);
    expect((await applied(jobId)).verdicts).toEqual(['version_conflict', 'version_conflict', 'changed']);
  });

  test('leaves failed what had failed, also when it could be applied by now', async () => {
    await fixture.reseed(1);
    const { jobId } = await preview([
      { id: 'w0', fields: { status: 'retired' } },
      { id: 'later', fields: { size: 3 } },
    ]);
    await fixture.submit([{ id: 'w0', status: 'active' }]);
    await fixture.submit([{ id: 'later', name: 'later' }], { operation: 'create' });
    expect((await applied(jobId)).verdicts).toEqual(['invalid_transition', 'not_found']);
  });

  test('asked twice, also at once, gives the same job', async () => {
    await fixture.reseed(1);
    const { jobId } = await preview([{ id: 'w0', fields: { size: 5 } }]);
    const jobs = await Promise.all(Array.from({ length: 5 }, () => fixture.engine.applyPreview(caller, jobId)));
    expect(new Set(jobs.map((job) => job.jobId)).size).toBe(1);
    expect((await applied(jobId)).job.jobId).toBe(jobs[0]?.jobId);
  });

  test('of creations makes them, unless they exist by now', async () => {
    await fixture.reseed(0);
    const { jobId } = await preview([{ fields: { name: 'a' } }, { id: 'n', fields: { name: 'b' } }], {
      operation: 'create',
    });
    await fixture.submit([{ id: 'n', name: 'c' }], { operation: 'create' });
    expect((await applied(jobId)).verdicts).toEqual(['changed', 'already_exists']);
    expect((await fixture.engine.readRecord('acme', 'widgets', 'made-0'))?.fields.name).toBe('a');
  });

  test('of several chunks applies them all', async () => {
    await fixture.reseed(2100);
    const { jobId } = await preview(Array.from({ length: 2100 }, (_, n) => ({ id: `w${n}`, fields: { size: 4 } })));
    const { job } = await applied(jobId);
    expect(job.summary).toEqual({ total: 2100, succeeded: 2100, failed: 0, notProcessed: 0 });
  });

  test('of an empty selection completes', async () => {
    await fixture.reseed(0);
    const outcome = await fixture.submit({ where: {}, fields: { size: 1 }, options: { dryRun: true } });
    expect(await fixture.engine.applyPreview(caller, outcome.job.jobId)).toMatchObject({ status: 'completed' });
  });

  test('guards records without a version by their values', async () => {
    await fixture.sql.query(
      `truncate gadgets; insert into gadgets values (1, 'a', 1), (2, 'a', 1), (3, 'a', 1), (4, 'a', 1)`,
    );
    const items = ['1', '2', '3', '4'].map((id) => ({ id, fields: { count: Number(id) < 3 ? 5 : 1 } }));
    const { jobId } = await preview(items, { collection: 'gadgets' });
    await fixture.sql.query('update gadgets set count = 7 where id in (2, 4)');
    expect((await applied(jobId)).verdicts).toEqual(['changed', 'version_conflict', 'unchanged', 'version_conflict']);
    expect((await fixture.sql.query('select count from gadgets order by id')).rows.map((row) => row.count)).toEqual([
      5, 7, 1, 7,
    ]);
  });

  test("keeps the items' own keys: what they did is done once", async () => {
    await fixture.reseed(2);
    const item = { id: 'w0', fields: { size: 5 }, idempotencyKey: 'k' };
    const { jobId } = await preview([item, { ...item, id: 'w1' }]);
    expect((await applied(jobId)).job.summary.succeeded).toBe(2);
    expect(await sizes()).toEqual([
      { size: 5, version: 2 },
      { size: 1, version: 1 },
    ]);
    const [again] = await resultsOf(fixture.submit({ items: [{ ...item, fields: { size: 9 } }] }));
    expect(again).toMatchObject({ replayed: true, version: 2 });
  });

  test('of a job that is no finished dry run is refused', async () => {
    await fixture.reseed(1);
    const { job } = await fixture.submit([{ id: 'w0', size: 5 }]);
    const apply = (jobId: string, tenantId = 'acme') => fixture.engine.applyPreview({ ...caller, tenantId }, jobId);
    await expect(apply(job.jobId)).rejects.toMatchObject({ code: 'job_conflict' });
    for (const unknown of ['job_x', 'job_01890a5dac96774bbcceb302099a8057']) {
      await expect(apply(unknown)).rejects.toMatchObject({ code: 'job_not_found' });
    }
    const done = await preview([{ id: 'w0', fields: { size: 6 } }]);
    await expect(apply(done.jobId, 'other')).rejects.toMatchObject({ code: 'job_not_found' });
  });

  test('of a dry run that still runs is refused', async () => {
    const idle = await openFixture();
    try {
      await idle.seed(1);
      const body = { items: [{ id: 'w0', fields: { size: 5 } }], options: { dryRun: true, mode: 'async' } } as Json;
      const { job } = await idle.engine.submit(submissionOf(idle.engine, body));
      await expect(idle.engine.applyPreview(caller, job.jobId)).rejects.toMatchObject({ code: 'job_conflict' });
    } finally {
      await idle.close();
    }
  });
});
