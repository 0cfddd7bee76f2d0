import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Engine, parseOptions, type RequestError, type StreamedItem } from '../src/index.ts';
import { assertInvariants } from './invariants.ts';
import { holdLocks, waitForLock, waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf } from './widgets.ts';

const tenantId = 'acme';
const caller = { tenantId, actor: 'tester' };
const limits = {
  streamItems: 3_000,
  queuedItemsPerTenant: 3_000,
  queuedItems: 4_000,
  queuedJobsPerTenant: 8,
  uploads: 2,
};

let fixture: Fixture;
let engine: Engine;
beforeAll(async () => {
  fixture = await openFixture({ limits });
  engine = fixture.engine;
});
beforeEach(() => fixture.reseed(5));
afterAll(() => fixture.close());

const batch = (count: number, mode = 'async') => ({
  items: Array.from({ length: count }, (_, n) => ({ id: `none-${n}`, fields: { note: 'x' } })),
  options: { mode },
});
const submit = (count: number, rest: Parameters<Fixture['submit']>[1] = {}) => fixture.submit(batch(count), rest);
const refused = async (work: Promise<unknown>) => {
  const error = (await work.then(
    () => undefined,
    (reason) => reason,
  )) as RequestError | undefined;
  return error && { code: error.code, limit: error.details.limit, actual: error.details.actual };
};
const waiting = async () =>
  (
    await fixture.sql.query(
      `select count(*)::int as jobs, coalesce(sum(greatest(total, received)), 0)::int as items from docket.jobs where completed_at is null`,
    )
  ).rows[0];

/** A stream that gives its items when it is told to. */
function upload(first: number, rest: Partial<{ tenantId: string; more: number; key: string; on: Engine }> = {}) {
  let go = () => {};
  const told = new Promise<void>((resolve) => {
    go = resolve;
  });
  async function* source(): AsyncGenerator<StreamedItem> {
    for (let n = 0; n < first; n++) yield { id: `none-${n}`, fields: { note: 'x' } };
    await told;
    for (let n = 0; n < (rest.more ?? 0); n++) yield { id: `more-${n}`, fields: { note: 'x' } };
  }
  const options = parseOptions({}, engine.limits);
  const taken = (rest.on ?? engine).submitStream(
    { ...caller, tenantId: rest.tenantId ?? tenantId, collection: 'widgets', operation: 'update', options },
    source(),
  );
  taken.catch(() => {});
  onTestFinished(go);
  return { go, taken };
}
const received = (items: number) =>
  waitUntil(async () => (await waiting()).items >= items, `${items} items are stored`);

describe('items that wait', () => {
  test('go up to the bound of the tenant; a batch is taken whole or not at all', async () => {
    await submit(2_000);
    expect(await refused(submit(1_001))).toEqual({ code: 'rate_limited', limit: 3_000, actual: 3_001 });
    expect(await waiting()).toEqual({ jobs: 1, items: 2_000 });
    await submit(1_000);
    expect(await refused(submit(1))).toMatchObject({ code: 'rate_limited' });
    expect((await fixture.sql.query('select 1 from docket.job_chunks')).rowCount).toBe(3);
  });

  test('of all tenants have a bound of their own', async () => {
    await submit(3_000);
    await submit(1_000, { tenantId: 'globex' });
    expect(await refused(submit(1, { tenantId: 'initech' }))).toEqual({
      code: 'overloaded',
      limit: 4_000,
      actual: 4_001,
    });
  });

  test('do not stand in the way of synchronous batches, nor of repeated requests', async () => {
    const idempotency = { key: 'first', payloadHash: 'x' };
    const { job } = await submit(3_000, { idempotency });
    expect(await resultsOf(fixture.submit(batch(5, 'sync')))).toHaveLength(5);
    const again = await submit(3_000, { idempotency });
    expect([again.replayed, again.job.jobId]).toEqual([true, job.jobId]);
  });

  test('make room when they are decided', async () => {
    const { job } = await submit(3_000);
    await engine.cancelJob(caller, job.jobId);
    await submit(3_000);
  });

  test('stay within the bound whatever comes at once, in several processes', async () => {
    const other = await fixture.createEngine();
    const all = await Promise.allSettled(
      Array.from({ length: 30 }, (_, n) => (n % 2 ? other : engine)).map((one) =>
        one.submit({
          ...caller,
          collection: 'widgets',
          operation: 'update',
          content: { kind: 'items', items: batch(500).items },
          options: parseOptions({ mode: 'async' }, engine.limits),
        }),
      ),
    );
    expect(all.filter((one) => one.status === 'fulfilled')).toHaveLength(6);
    expect(await waiting()).toEqual({ jobs: 6, items: 3_000 });
  });

  test('are counted one request after the other near the bound', async () => {
    const letGo = await holdLocks(fixture.sql, 'lock table docket.runnable_jobs in access exclusive mode');
    onTestFinished(letGo);
    const requests = [submit(2_000), submit(2_000)];
    const both = Promise.allSettled(requests);
    // the second may be refused before it waits, by what the process knows of the first
    const refusedAtOnce = Promise.all(requests).catch(() => undefined);
    await Promise.race([waitForLock(fixture.sql, 'docket', 2).catch(() => undefined), refusedAtOnce]);
    await letGo();
    expect((await both).map((one) => one.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await waiting()).toEqual({ jobs: 1, items: 2_000 });
  });

  test('of a selection that could never wait are too many', async () => {
    await fixture.reseed(3_001);
    const work = fixture.submit({ where: { status: 'draft' }, fields: { note: 'x' }, options: { mode: 'async' } });
    expect(await refused(work)).toEqual({ code: 'batch_too_large', limit: 3_000, actual: 3_001 });
  });

  test('count for jobs that are made of others', async () => {
    const { job } = await submit(2_000);
    await engine.cancelJob(caller, job.jobId);
    await submit(1_500);
    expect(await refused(engine.retryJob(caller, job.jobId))).toEqual({
      code: 'rate_limited',
      limit: 3_000,
      actual: 3_500,
    });
    expect(await waiting()).toEqual({ jobs: 1, items: 1_500 });
  });
});

test('jobs of a tenant that have not ended have a bound', async () => {
  for (let n = 0; n < 8; n++) await submit(1);
  expect(await refused(submit(1))).toEqual({ code: 'rate_limited', limit: 8, actual: 9 });
  await submit(1, { tenantId: 'globex' });
});

describe('an upload', () => {
  test('is refused at its start when there is no room', async () => {
    await submit(3_000);
    const { taken } = upload(10);
    expect(await refused(taken)).toMatchObject({ code: 'rate_limited', actual: 3_001 });
    expect(await waiting()).toEqual({ jobs: 1, items: 3_000 });
  });

  test('ends as failed when its items become too many, and leaves nothing', async () => {
    await submit(2_500);
    const { taken, go } = upload(1_000);
    go();
    const error = (await taken.catch((reason) => reason)) as RequestError;
    expect(error).toMatchObject({ code: 'rate_limited', details: { actual: 3_500 } });
    expect(await engine.getJob(tenantId, error.details.extra?.jobId as string)).toMatchObject({
      status: 'failed',
      error: { code: 'rate_limited' },
    });
    expect((await fixture.sql.query('select 1 from docket.job_chunks')).rowCount).toBe(3);
    await assertInvariants(fixture.sql);
  });

  test('counts with what it has stored, for jobs and for other uploads', async () => {
    const first = upload(2_000);
    await received(2_000);
    expect(await refused(submit(1_001))).toMatchObject({ code: 'rate_limited', actual: 3_001 });
    const second = upload(1_001, { on: await fixture.createEngine() });
    second.go();
    expect(await refused(second.taken)).toMatchObject({ code: 'rate_limited', actual: 3_001 });
    first.go();
    expect((await first.taken).job.summary.total).toBe(2_000);
  });

  test('waits for another time when the process takes as many as it may', async () => {
    const [one, two] = [upload(1), upload(1)];
    await waitUntil(async () => (await waiting()).jobs === 2, 'two have begun');
    expect(await refused(upload(1).taken)).toEqual({ code: 'overloaded', limit: 2, actual: 3 });
    for (const { go, taken } of [one, two]) {
      go();
      await taken;
    }
    const three = upload(1);
    three.go();
    await three.taken;
  });
});

test('the bounds fit the limit of a stream', async () => {
  await expect(fixture.createEngine({ limits: { ...limits, queuedItems: 2_999 } })).rejects.toThrow(
    'limits.queuedItems (2999) must be at least limits.streamItems (3000)',
  );
});
