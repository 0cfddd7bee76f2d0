import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Engine, Removed } from '../src/index.ts';
import { removeExpiredChanges } from '../src/storage/expiry-store.ts';
import { assertInvariants } from './invariants.ts';
import { cutConnections, holdLocks, waitForLock, waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf, verdicts } from './widgets.ts';

const tenantId = 'acme';
const caller = { tenantId, actor: 'tester' };
const nothing: Removed = { jobs: 0, chunks: 0, idempotencyKeys: 0, itemKeys: 0, changes: 0, usage: 0 };

let fixture: Fixture;
let engine: Engine;
beforeAll(async () => {
  fixture = await openFixture();
  engine = fixture.engine;
});
beforeEach(async () => {
  await fixture.sql.query('truncate docket.idempotency_keys');
  await fixture.reseed(5);
});
afterAll(() => fixture.close());

const sql = (text: string, values: unknown[] = []) => fixture.sql.query(text, values);
const count = async (table: string) =>
  (await sql(`select count(*)::int as n from docket.${table}`)).rows[0].n as number;
/** Time passes: for jobs, their keys, and the changes of all records. */
const pass = (interval: string) =>
  sql(
    `with jobs as (
      update docket.jobs set created_at = created_at - $1::interval, completed_at = completed_at - $1::interval,
        started_at = started_at - $1::interval, expires_at = expires_at - $1::interval),
    keys as (update docket.idempotency_keys set expires_at = expires_at - $1::interval),
    item_keys as (update docket.item_keys set expires_at = expires_at - $1::interval)
    update docket.changes set changed_at = changed_at - $1::interval`.replaceAll(
      '$1::interval',
      `interval '${interval}'`,
    ),
  );
/** Somebody else's locks, let go at the end of the test at the latest. */
const hold = async (statement: string) => {
  const letGo = await holdLocks(fixture.sql, statement);
  onTestFinished(letGo);
  return letGo;
};
const apply = async (note: string, rest: Parameters<Fixture['submit']>[1] = {}) => {
  const outcome = await fixture.submit(
    [0, 1, 2].map((n) => ({ id: `w${n}`, fields: { note }, idempotencyKey: `${note} ${n}` })),
    { idempotency: { key: note, payloadHash: note }, ...rest },
  );
  return outcome.job.jobId;
};
const asJob = async (note: string, ids: readonly string[] = ['w0']) => {
  const { job } = await fixture.submit({
    items: ids.map((id) => ({ id, fields: { note } })),
    options: { mode: 'async' },
  });
  return job.jobId;
};
/** An ended job of so many chunks that change nothing, as written by hand. */
const writeJob = async (chunks: number, tenant = tenantId) => {
  const donor = await apply(`donor ${chunks} ${tenant}`);
  const { rows } = await sql(
    `with job as (
       insert into docket.jobs (tenant_id, job_id, collection, operation, item_operation, status, priority, dry_run, atomic,
         representation, synchronous, ordered, actor, total, failed, created_at, started_at, completed_at, expires_at)
       select $1, gen_random_uuid(), collection, operation, item_operation, status, priority, true, atomic, representation,
         synchronous, ordered, actor, $2::int * 3, $2::int * 3, created_at, started_at, completed_at, expires_at
       from docket.jobs where job_id = $3 returning job_id)
     insert into docket.job_chunks (tenant_id, job_id, chunk_no, first_index, item_count, state, failed, items, results)
     select $1, job.job_id, n, n * 3, 3, 'done', 3, c.items, c.results
     from job, docket.job_chunks c, generate_series(0, $2::int - 1) n where c.job_id = $3 returning job_id`,
    [tenant, chunks, donor.slice(4)],
  );
  return rows[0].job_id as string;
};

describe('removal', () => {
  test('takes each kind after its time, and not before', async () => {
    const jobId = await apply('first');
    expect(await engine.removeExpired()).toEqual(nothing);
    await pass('23 hours 59 minutes');
    expect(await engine.removeExpired()).toEqual(nothing);
    await pass('2 minutes');
    expect(await engine.removeExpired()).toEqual({ ...nothing, idempotencyKeys: 1, itemKeys: 3 });
    await pass('6 days -2 minutes');
    expect(await engine.removeExpired()).toEqual(nothing);
    await engine.getJob(tenantId, jobId);
    await pass('3 minutes');
    expect(await engine.removeExpired()).toEqual({ ...nothing, jobs: 1, chunks: 1 });
    await pass('392 days 23 hours');
    expect(await engine.removeExpired()).toEqual(nothing);
    await assertInvariants(fixture.sql);
    await pass('1 hour');
    expect(await engine.removeExpired()).toEqual({ ...nothing, changes: 3 });
    await assertInvariants(fixture.sql, undefined, { changesExpired: true });
  });

  test('leaves open jobs alone, however old', async () => {
    const pending = await asJob('a');
    const paused = await asJob('b');
    await engine.pauseJob(caller, paused);
    const running = await asJob('c');
    await sql(`update docket.jobs set status = 'running', started_at = created_at where job_id = $1`, [
      running.slice(4),
    ]);
    await sql(`update docket.jobs set total = 0 where job_id = $1`, [pending.slice(4)]);
    const uploading = pending;
    const waiting = await asJob('d');
    await pass('500 days');
    expect(await engine.removeExpired()).toEqual(nothing);
    for (const jobId of [uploading, paused, running, waiting]) {
      expect((await engine.getJob(tenantId, jobId)).completedAt).toBeNull();
    }
  });

  test('goes on where the one before was cut off; until then the job is gone for its readers', async () => {
    const jobUuid = await writeJob(2_500);
    await pass('8 days');
    const letGo = await hold(
      `select 1 from docket.job_chunks where job_id = '${jobUuid}' and chunk_no = 2000 for update`,
    );
    const removing = engine.removeExpired();
    removing.catch(() => {});
    await waitForLock(fixture.sql, 'docket');
    await cutConnections(fixture.sql, 'docket', `wait_event_type = 'Lock'`);
    await expect(removing).rejects.toMatchObject({ code: 'database_unavailable' });
    await letGo();
    const left = await count('job_chunks');
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(2_500);
    await expect(engine.getJob(tenantId, `job_${jobUuid.replaceAll('-', '')}`)).rejects.toMatchObject({
      code: 'job_not_found',
    });
    const { jobs, chunks } = await engine.removeExpired();
    expect({ jobs, chunks }).toEqual({ jobs: 1, chunks: left });
  });

  test('is done by one at a time, and by any', async () => {
    for (let n = 0; n < 3; n++) await writeJob(1_500);
    await pass('8 days');
    const [jobs, chunks] = [await count('jobs'), await count('job_chunks')];
    const other = await fixture.createEngine();
    const all = await Promise.all([engine.removeExpired(), other.removeExpired(), engine.removeExpired()]);
    const rest = await engine.removeExpired();
    const sum = (kind: keyof Removed) => [...all, rest].reduce((total, removed) => total + removed[kind], 0);
    expect([sum('jobs'), sum('chunks')]).toEqual([jobs, chunks]);
    expect(await count('job_chunks')).toBe(0);
  });

  test('stops between two steps when it is told to', async () => {
    await writeJob(2_500);
    await pass('8 days');
    const stop = new AbortController();
    const removing = engine.removeExpired({ signal: stop.signal });
    await waitUntil(async () => (await count('job_chunks')) < 2_500, 'a step was done');
    stop.abort();
    await removing;
    await engine.removeExpired();
    expect(await count('job_chunks')).toBe(0);
  });

  test('takes what has expired of one tenant, not what another one has of the same name', async () => {
    await fixture.seed(3, { tenantId: 'globex' });
    const mine = await apply('same');
    const theirs = await apply('same', { tenantId: 'globex' });
    await sql(`update docket.jobs set expires_at = now() - interval '2 minutes' where tenant_id = $1`, [tenantId]);
    await sql(`update docket.item_keys set expires_at = now() where tenant_id = $1`, [tenantId]);
    await sql(`update docket.changes set changed_at = now() - interval '2 years' where tenant_id = $1`, [tenantId]);
    const removed = { jobs: 1, chunks: 1, idempotencyKeys: 1, itemKeys: 3, changes: 3 };
    expect(await engine.removeExpired()).toEqual({ ...nothing, ...removed });
    await expect(engine.getJob(tenantId, mine)).rejects.toMatchObject({ code: 'job_not_found' });
    expect((await engine.jobResults({ tenantId: 'globex', jobId: theirs, limit: 10 })).items).toHaveLength(3);
    expect(
      (await engine.history({ tenantId: 'globex', collection: 'widgets', id: 'w0', limit: 10 })).items,
    ).toHaveLength(1);
  });
});

describe('a job whose time is over', () => {
  test('is not there for anybody from that moment on', async () => {
    const jobId = await asJob('over');
    await engine.cancelJob(caller, jobId);
    await sql(`update docket.jobs set expires_at = now()`);
    const unknown = { code: 'job_not_found' };
    await expect(engine.getJob(tenantId, jobId)).rejects.toMatchObject(unknown);
    await expect(engine.jobResults({ tenantId, jobId, limit: 1 })).rejects.toMatchObject(unknown);
    await expect(engine.retryJob(caller, jobId)).rejects.toMatchObject(unknown);
    await expect(engine.cancelJob(caller, jobId)).rejects.toMatchObject(unknown);
    await expect(engine.deleteJob(caller, jobId)).rejects.toMatchObject(unknown);
    expect((await engine.listJobs({ tenantId, limit: 10 })).items).toEqual([]);
  });

  test('frees its key with its removal', async () => {
    const first = await apply('again');
    await sql(`update docket.jobs set expires_at = now() - interval '2 minutes'`);
    await sql(`update docket.item_keys set expires_at = now()`);
    await engine.removeExpired();
    const second = await apply('again');
    expect(second).not.toBe(first);
  });

  test('is left for later while another job is being made of it', async () => {
    await asJob('held');
    await engine.cancelJob(caller, (await engine.listJobs({ tenantId, limit: 1 })).items[0]?.jobId as string);
    await sql(`update docket.jobs set expires_at = now() - interval '2 minutes'`);
    const letGo = await hold('select 1 from docket.jobs for update');
    expect(await engine.removeExpired()).toEqual(nothing);
    await letGo();
    expect(await engine.removeExpired()).toEqual({ ...nothing, jobs: 1, chunks: 1 });
  });
});

describe('the time of a job', () => {
  const keptFor = async () =>
    (
      await sql(`select round(extract(epoch from expires_at - completed_at))::int as seconds from docket.jobs`)
    ).rows.map((row) => row.seconds);

  test('begins with its end', async () => {
    const jobId = await asJob('slow');
    await pass('30 days');
    const runner = await fixture.createEngine();
    await runner.startWorkers();
    expect((await engine.waitForJob(tenantId, jobId, 10_000)).status).toBe('completed');
    await runner.stop();
    expect(await keptFor()).toEqual([7 * 24 * 3600]);
  });

  test('begins with its cancellation', async () => {
    const jobId = await asJob('dropped');
    await pass('30 days');
    await engine.cancelJob(caller, jobId);
    expect(await keptFor()).toEqual([7 * 24 * 3600]);
  });
});

describe('changes', () => {
  test('stay as long as a job that may have made them, so that it can be reverted', async () => {
    const jobId = await apply('kept');
    await pass('500 days');
    await sql(`update docket.jobs set expires_at = now() + interval '1 hour'`);
    expect((await engine.removeExpired()).changes).toBe(0);
    const { summary } = await engine.revertJob(caller, jobId);
    expect(summary.total).toBe(3);
    await sql('delete from docket.runnable_jobs');
  });

  test('go the oldest first, so that a history has no gap wherever a step ends', async () => {
    const change = `insert into docket.changes select 'acme', 'widgets', $1, n, gen_random_uuid(), 0, 'tester',
      now() - make_interval(days => $2), null, '{}' from generate_series($3::int, $4::int, sign($4::int - $3::int)::int) n`;
    // the versions 3 and 2 are of one moment, and lie in the table in this order, one on each side of the end of a step
    await sql(change, ['v0', 900, 1, 999]);
    await sql(change, ['w0', 800, 3, 2]);
    await sql(change, ['w0', 700, 4, 5]);
    await removeExpiredChanges(engine.pool, 400 * 24 * 3600);
    const { items: history } = await engine.history({ tenantId, collection: 'widgets', id: 'w0', limit: 10 });
    expect(history.map((entry) => entry.version)).toEqual([5, 4]);
  });
});

describe('times to live', () => {
  test('fit each other', async () => {
    await expect(fixture.createEngine({ jobTtlSeconds: 3_600 })).rejects.toThrow('at least idempotencyTtlSeconds');
    await expect(fixture.createEngine({ changeTtlSeconds: 86_400 })).rejects.toThrow('at least jobTtlSeconds');
  });
});

test('storage returns to its level, round after round', async () => {
  const tables = ['jobs', 'job_chunks', 'idempotency_keys', 'item_keys', 'changes'];
  const runner = await fixture.createEngine();
  await runner.startWorkers();
  const sizes: number[] = [];
  for (let round = 0; round < 9; round++) {
    const jobs = await Promise.all(
      Array.from({ length: 4 }, (_, n) =>
        fixture.submit(
          {
            items: Array.from({ length: 250 }, (_, i) => ({
              id: `w${i % 5}`,
              fields: { note: `${round} ${n} ${i}` },
              idempotencyKey: `${round} ${n} ${i}`,
            })),
            options: { mode: n % 2 === 0 ? 'async' : 'sync' },
          },
          { idempotency: { key: `${round} ${n}`, payloadHash: 'x' } },
        ),
      ),
    );
    for (const { job } of jobs) await engine.waitForJob(tenantId, job.jobId, 30_000);
    await pass('500 days');
    expect(await engine.removeExpired()).toEqual({
      ...nothing,
      jobs: 4,
      chunks: 4,
      idempotencyKeys: 4,
      itemKeys: 1_000,
      changes: 1_000,
    });
    await sql(`vacuum ${tables.map((table) => `docket.${table}`).join(', ')}`);
    const { rows } = await sql(
      `select sum(pg_total_relation_size('docket.' || t))::int as bytes from unnest($1::text[]) t`,
      [tables],
    );
    sizes.push(rows[0].bytes);
  }
  await runner.stop();
  await assertInvariants(fixture.sql, undefined, { changesExpired: true });
  // growth would make it 7 to 3
  expect(Math.min(...sizes.slice(-3)), `${sizes}`).toBeLessThan(1.6 * Math.max(...sizes.slice(0, 3)));
  expect(verdicts(await resultsOf(fixture.submit([{ id: 'w0', fields: { note: 'still here' } }])))).toEqual([
    'changed',
  ]);
});
