import { type Engine, type Json, parseOptions, type StreamedItem, type Usage } from '@docket/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { assertUsage } from './invariants.ts';
import { holdLocks, waitForLock, waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, submissionOf } from './widgets.ts';

const tenantId = 'acme';
const caller = { tenantId, actor: 'tester' };

let fixture: Fixture;
let engine: Engine;
beforeAll(async () => {
  fixture = await openFixture({ limits: { streamItems: 20_000, queuedJobsPerTenant: 100 } });
  engine = fixture.engine;
  await engine.startWorkers();
});
beforeEach(async () => {
  await quiet();
  await fixture.reseed(5);
});
afterAll(() => fixture.close());

const sql = (text: string, values: unknown[] = []) => fixture.sql.query(text, values);
/** Until no job runs any more. */
const quiet = () =>
  waitUntil(async () => (await sql('select 1 from docket.runnable_jobs')).rowCount === 0, 'all ended');
const counted = async (tenant = tenantId) => {
  const { batches, items, credits } = (await engine.usage({ tenantId: tenant })).total;
  return [batches, items, credits];
};
const slots = async () => (await sql('select slot, batches from docket.usage order by slot')).rows;
const note = (text: string, ...ids: string[]): Json => ids.map((id) => ({ id, note: text }));
const ended = async (jobId: string) => (await engine.waitForJob(tenantId, jobId, 15_000)).jobId;

async function* streamed(count: number, broken = false): AsyncGenerator<StreamedItem> {
  for (let index = 0; index < count; index++) yield { id: `w${index % 7}`, fields: { note: `streamed ${index}` } };
  if (broken) throw new Error('The client has gone.');
}
const upload = (count: number, { broken = false, options = {}, key = '' } = {}) =>
  engine.submitStream(
    {
      ...caller,
      collection: 'widgets',
      operation: 'update',
      options: parseOptions(options, engine.limits),
      ...(key === '' ? {} : { idempotency: { key, payloadHash: () => key } }),
    },
    streamed(count, broken),
  );

describe('counted is', () => {
  test('a write of a single record: one credit', async () => {
    await fixture.submit(note('one', 'w0'), { single: true });
    expect(await counted()).toEqual([1, 1, 1]);
    await fixture.submit([{ id: 'new', fields: { name: 'new' } }], { single: true, operation: 'create' });
    expect(await counted()).toEqual([2, 2, 2]);
  });

  test('a batch, whatever becomes of its items', async () => {
    await fixture.submit(note('some', 'w0', 'w1', 'nobody'));
    expect(await counted()).toEqual([1, 3, 2.5]);
    await fixture.submit({ items: [{ id: 'w0' }, { id: 'nobody' }], options: { atomic: true } });
    expect(await counted()).toEqual([2, 5, 4.5]);
  });

  test('a job, when it is taken', async () => {
    const letGo = await holdLocks(fixture.sql, `select from widgets where widget_id = 'w0' for update`);
    onTestFinished(letGo);
    const { job } = await fixture.submit({ items: [{ id: 'w0', fields: {} }], options: { mode: 'async' } });
    expect(await counted()).toEqual([1, 1, 1.5]);
    await letGo();
    await ended(job.jobId);
    expect(await counted()).toEqual([1, 1, 1.5]);
  });

  test('a selection, with what it holds', async () => {
    await fixture.reseed(1_200);
    await fixture.submit({ where: { q: 'w10' }, fields: { note: 'few' } });
    expect((await counted()).slice(0, 2)).toEqual([1, 1 + 10 + 100]);
    await fixture.submit({ where: {}, fields: { note: 'all' } });
    expect(await counted()).toEqual([2, 1_311, 2 + 1_311 / 2]);
    await fixture.submit({ where: { q: 'nothing' }, fields: { note: 'none' } });
    expect(await counted()).toEqual([3, 1_311, 3 + 1_311 / 2]);
  });

  test('an upload, when all of it has come', async () => {
    await upload(2_500);
    expect(await counted()).toEqual([1, 2_500, 1_251]);
    await quiet();
  });

  test('a dry run, for nothing, and what is made of ended jobs as batches of their own', async () => {
    const { job: preview } = await fixture.submit({ items: note('applied', 'w0', 'w1'), options: { dryRun: true } });
    expect(await counted()).toEqual([1, 2, 0]);
    const applied = await ended((await engine.applyPreview(caller, preview.jobId)).jobId);
    expect(await counted()).toEqual([2, 4, 2]);
    await engine.applyPreview(caller, preview.jobId);
    expect(await counted()).toEqual([2, 4, 2]);
    await ended((await engine.revertJob(caller, applied)).jobId);
    expect(await counted()).toEqual([3, 6, 4]);
    const { job } = await fixture.submit(note('retried', 'w0', 'nobody', 'none'));
    expect(await counted()).toEqual([4, 9, 6.5]);
    await ended((await engine.retryJob(caller, job.jobId)).jobId);
    expect(await counted()).toEqual([5, 11, 8.5]);
    await expect(engine.retryJob(caller, job.jobId, 'retryable')).rejects.toMatchObject({ code: 'job_conflict' });
    await upload(3, { options: { dryRun: true } });
    expect(await counted()).toEqual([6, 14, 8.5]);
    await assertUsage(fixture.sql);
  });

  test('at other prices, where these are set', async () => {
    const other = await fixture.createEngine({ credits: { item: 0.001 } });
    await other.submit(submissionOf(other, note('cheap', 'w0', 'w1', 'w2')));
    expect(await counted()).toEqual([1, 3, 1.003]);
    await expect(fixture.createEngine({ credits: { batch: -1 } })).rejects.toThrow(/credits\.batch \(-1\) must be/);
  });
});

describe('not counted is', () => {
  test('what is refused', async () => {
    const selection = { where: {}, fields: { note: 'x' }, expectedCount: 99 };
    await expect(fixture.submit(selection)).rejects.toMatchObject({ code: 'expected_count_mismatch' });
    const large = Array.from({ length: 1_001 }, (_, n) => ({ id: `w${n}`, fields: {} }));
    const tooLarge = fixture.submit({ items: large, options: { mode: 'sync' } });
    await expect(tooLarge).rejects.toMatchObject({ code: 'batch_too_large' });
    const many = await fixture.createEngine({ limits: { queuedJobsPerTenant: 1 } });
    await sql(`insert into docket.jobs (tenant_id, job_id, collection, operation, item_operation, status, priority, dry_run, atomic,
      representation, synchronous, ordered, actor, total, created_at, expires_at)
      values ('acme', gen_random_uuid(), 'widgets', 'update', 'update', 'paused', 1, false, false, false, false, false, 'x', 1, now(), now())`);
    const crowd = many.submit(submissionOf(many, { items: note('x', 'w0'), options: { mode: 'async' } }));
    await expect(crowd).rejects.toMatchObject({ code: 'rate_limited' });
    await sql('truncate docket.jobs');
    expect(await slots()).toEqual([]);
  });

  test('an upload that fails', async () => {
    await expect(upload(1_500, { broken: true })).rejects.toThrow('The client has gone.');
    await expect(upload(20_001)).rejects.toMatchObject({ code: 'batch_too_large' });
    expect(await slots()).toEqual([]);
  });

  test('a request that is answered from its idempotency key', async () => {
    const idempotency = { key: 'usage once', payloadHash: 'x' };
    for (const body of [note('once', 'w0'), { items: note('once', 'w0'), options: { mode: 'async' } } as Json]) {
      for (let time = 0; time < 3; time++) await fixture.submit(body, { idempotency });
      expect(await counted()).toEqual([1, 1, 1.5]);
    }
    for (let time = 0; time < 2; time++) await upload(2, { key: 'usage upload' });
    expect(await counted()).toEqual([2, 3, 3.5]);
    const reused = fixture.submit(note('x', 'w0'), { idempotency: { ...idempotency, payloadHash: 'y' } });
    await expect(reused).rejects.toMatchObject({ code: 'idempotency_key_reused' });
    expect(await counted()).toEqual([2, 3, 3.5]);
  });

  test('what is rolled back: one that is tried again counts once', async () => {
    // why this constraint: it is checked by COMMIT, behind all else
    await fixture.submit([
      { id: 'w0', name: 'same' },
      { id: 'w1', name: 'same' },
    ]);
    expect((await sql('select succeeded, failed from docket.jobs')).rows).toEqual([{ succeeded: 1, failed: 1 }]);
    expect(await counted()).toEqual([1, 2, 2]);
  });
});

describe('counting', () => {
  test('waits for nobody', async () => {
    await fixture.submit(note('first', 'w0'), { single: true });
    const [first] = await slots();
    const letGo = await holdLocks(fixture.sql, 'select from docket.usage for update');
    onTestFinished(letGo);
    await fixture.submit(note('beside', 'w1'), { single: true });
    await fixture.submit(note('beside again', 'w2'), { single: true });
    expect(await slots()).toEqual([first, { slot: expect.any(String), batches: 2 }]);
    expect(await counted()).toEqual([3, 3, 3]);
    await letGo();
    await fixture.submit(note('later', 'w3'), { single: true });
    expect(await slots()).toHaveLength(2);
    expect(await counted()).toEqual([4, 4, 4]);
  });

  test('of many at once adds up, in no more rows than there were at once', async () => {
    const ids = await fixture.reseed(40);
    const writers = ids.map(async (id) => {
      for (let round = 0; round < 10; round++) await fixture.submit(note(`${round}`, id), { single: true });
    });
    await Promise.all(writers);
    expect(await counted()).toEqual([400, 400, 400]);
    expect((await slots()).length).toBeLessThanOrEqual(10);
  });

  test('does not fail a large selection whose snapshot is older', async () => {
    await fixture.reseed(1_200);
    await fixture.submit(note('before', 'w0'), { single: true });
    const letGo = await holdLocks(fixture.sql, 'lock table docket.runnable_jobs in exclusive mode');
    onTestFinished(letGo);
    const selecting = fixture.submit({ where: {}, fields: { note: 'all' } });
    await waitForLock(fixture.sql, 'docket');
    await fixture.submit(note('meanwhile', 'w1'), { single: true });
    await letGo();
    await ended((await selecting).job.jobId);
    expect(await counted()).toEqual([3, 1_202, 2 + 601]);
  });

  test('begins a new row after 10,000 batches', async () => {
    await fixture.submit(note('first', 'w0'));
    await sql('update docket.usage set batches = 9999');
    await fixture.submit(note('second', 'w0'));
    await fixture.submit(note('third', 'w0'));
    await fixture.submit(note('fourth', 'w0'));
    expect((await slots()).map(({ batches }) => batches)).toEqual([10_000, 2]);
  });

  test('is the recount of the batches, whatever they are and how they end', async () => {
    await fixture.reseed(30);
    await fixture.seed(30, { tenantId: 'other' });
    const seed = Number(process.env.USAGE_SEED ?? Date.now() % 100_000);
    let state = seed;
    const random = (below: number) => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    const jobs: { tenantId: string; jobId: string }[] = [];
    const act = async (step: number) => {
      const tenant = random(3) === 0 ? 'other' : tenantId;
      const by = { tenantId: tenant, actor: 'tester' };
      const items = Array.from({ length: 1 + random(30) }, () => ({
        id: `w${random(33)}`,
        fields: { size: 10 + random(5), note: `${step}` },
      }));
      const send = (body: Json, rest: object = {}) =>
        engine.submit({ ...submissionOf(engine, body, rest), tenantId: tenant });
      const parent = jobs[random(jobs.length)] ?? { ...by, jobId: 'job_00000000000000000000000000000000' };
      const ofParent = { tenantId: parent.tenantId, actor: 'tester' };
      const repeated = { idempotency: { key: `random ${random(10)}`, payloadHash: `${random(2)}` } };
      const kinds: (() => Promise<unknown>)[] = [
        () => send(items.slice(0, 1) as Json, { single: true }),
        () => send({ items, options: { dryRun: random(3) === 0, atomic: random(3) === 0 } }),
        () => send({ items, options: { mode: 'async', ...(random(2) ? { maxErrors: 2 } : {}) } }),
        () => send({ items }, repeated),
        () =>
          send({ where: { size: [10, 11] }, fields: { note: `${step}` }, ...(random(2) ? { expectedCount: 1 } : {}) }),
        () => upload(1 + random(1_500), { broken: random(3) === 0, options: { dryRun: random(3) === 0 } }),
        () => engine.applyPreview(ofParent, parent.jobId),
        () => engine.retryJob(ofParent, parent.jobId),
        () => engine.revertJob(ofParent, parent.jobId),
        () => engine.cancelJob(ofParent, parent.jobId),
      ];
      const done = await (kinds[random(kinds.length)] as () => Promise<unknown>)().catch((error: Error) => error);
      const job = (done as { job?: { jobId: string } }).job ?? (done as { jobId?: string });
      if (job.jobId) jobs.push({ tenantId: (await findTenant(job.jobId)) ?? tenant, jobId: job.jobId });
    };
    const findTenant = async (jobId: string) =>
      (await sql('select tenant_id from docket.jobs where job_id = $1', [jobId.slice(4)])).rows[0]?.tenant_id;
    for (let step = 0; step < 20; step++) await Promise.all(Array.from({ length: 8 }, () => act(step)));
    await quiet();
    await assertUsage(fixture.sql).catch((error: Error) => {
      throw new Error(`With USAGE_SEED=${seed}: ${error.message}`);
    });
    expect(jobs.length).toBeGreaterThan(50);
  });
});

describe('a month of usage', () => {
  const put = (tenant: string, day: string, batches: number) =>
    sql(
      'insert into docket.usage (tenant_id, day, batches, items, credits) values ($1, $2::text::date, $3::int, $3::int, $3::int * 0.5)',
      [tenant, day, batches],
    );
  const shown = ({ days }: Usage) =>
    days.filter(({ batches }) => batches > 0).map(({ day, batches }) => [day, batches]);
  const month = async (back: number): Promise<string> => {
    const text = `select to_char(date_trunc('month', now() at time zone 'utc') - make_interval(months => $1), 'YYYY-MM') as month`;
    return (await sql(text, [back])).rows[0].month;
  };

  test('has its own days and the tenant’s own batches', async () => {
    const [last, before] = [await month(1), await month(2)];
    await put('acme', `${last}-01`, 2);
    await put('acme', `${last}-01`, 3);
    await put('acme', `${last}-28`, 1);
    await put('acme', `${before}-28`, 7);
    await put('other', `${last}-01`, 11);
    const usage = await engine.usage({ tenantId, month: last });
    expect(usage).toMatchObject({ month: last, total: { batches: 6, items: 6, credits: 3 } });
    expect(shown(usage)).toEqual([
      [`${last}-01`, 5],
      [`${last}-28`, 1],
    ]);
    expect(usage.days.length).toBeGreaterThanOrEqual(28);
    expect(await counted()).toEqual([0, 0, 0]);
    expect((await engine.usage({ tenantId: 'nobody', month: last })).total.batches).toBe(0);
    await expect(engine.usage({ tenantId, month: '2026-13' })).rejects.toMatchObject({ code: 'invalid_parameter' });
  });

  test.each(['Etc/GMT+12', 'Etc/GMT-14'])(
    'counts in days of UTC, also in a database that lives in %s',
    async (zone) => {
      const { rows } = await sql('select current_database() as name');
      await sql(`alter database "${rows[0].name}" set timezone = '${zone}'`);
      onTestFinished(() => void sql(`alter database "${rows[0].name}" reset timezone`));
      const elsewhere = await fixture.createEngine();
      const utcDay = async () => (await sql(`select (now() at time zone 'utc')::date::text as day`)).rows[0].day;
      const before = await utcDay();
      await elsewhere.submit(submissionOf(elsewhere, note('here', 'w0')));
      const stored = (await sql('select day::text from docket.usage')).rows[0].day;
      expect([before, await utcDay()]).toContain(stored);
      const usage = await elsewhere.usage({ tenantId, month: stored.slice(0, 7) });
      expect(shown(usage)).toEqual([[stored, 1]]);
      expect([stored, await utcDay()]).toContain(usage.days.at(-1)?.day);
    },
  );

  test('is kept with the twelve before, and removed then', async () => {
    const [oldest, over] = [await month(12), await month(13)];
    await put('acme', `${oldest}-01`, 1);
    await put('acme', `${over}-28`, 1);
    await put('other', `${over}-01`, 1);
    expect((await engine.usage({ tenantId, month: oldest })).total.batches).toBe(1);
    await expect(engine.usage({ tenantId, month: over })).rejects.toMatchObject({
      code: 'invalid_parameter',
      message: `Usage is kept for 13 months; the oldest one is ${oldest}.`,
    });
    expect(await engine.removeExpired()).toMatchObject({ usage: 2 });
    expect(await engine.removeExpired()).toMatchObject({ usage: 0 });
    expect((await engine.usage({ tenantId, month: oldest })).total.batches).toBe(1);
  });
});
