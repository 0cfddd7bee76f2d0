import { type Database, type Effect, sql } from '@docket/engine';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseJobId } from '../src/domain/ids.ts';
import { endedJob } from '../src/storage/job-store.ts';
import { waitUntil } from './wait-until.ts';
import { type Fixture, openFixture } from './widgets.ts';

/** An outbox as a user of the library would write it. */
async function recordEffect(db: Database, { tenantId, jobId, changed, endedJob }: Effect): Promise<void> {
  const ids = JSON.stringify(changed?.ids ?? []);
  await Promise.all([
    db.query(
      sql`insert into outbox select ${tenantId}, ${jobId}, 'changed', ${ids}::json where ${changed !== undefined}::boolean`,
    ),
    endedJob &&
      db.query(
        sql`insert into outbox select ${tenantId}, ${jobId}, j.status, j.job from ${endedJob} j where not j.synchronous`,
      ),
    db.query(sql`select pg_notify('outbox', '')`),
  ]);
}

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture({ recordEffect });
  await fixture.sql.query('create table outbox (tenant_id text, job_id text, kind text, told json)');
  await fixture.engine.startWorkers();
});
afterAll(() => fixture?.close());
beforeEach(async () => {
  await fixture.reseed(3);
  await fixture.sql.query('truncate outbox');
});

const outbox = async () => (await fixture.sql.query('select * from outbox')).rows;

test('a batch tells which records it changed, each once', async () => {
  const items = ['w0', 'w1', 'w0', 'nobody', 'w2'].map((id, n) => ({ id, fields: { size: id === 'w2' ? 1 : n + 20 } }));
  const { job } = await fixture.submit({ items });
  expect(await outbox()).toEqual([{ tenant_id: 'acme', job_id: job.jobId, kind: 'changed', told: ['w0', 'w1'] }]);
});

test('what is found by the slow way is told as it was kept', async () => {
  const items = ['w0', 'w1', 'w2'].map((id) => ({ id, fields: { size: id === 'w1' ? 13 : 7 } }));
  const { job } = await fixture.submit({ items });
  expect(job.summary).toMatchObject({ succeeded: 2, failed: 1 });
  expect(await outbox()).toMatchObject([{ kind: 'changed', told: ['w0', 'w2'] }]);
});

test('a job tells its changes and its end, and a dry run its end alone', async () => {
  for (const dryRun of [true, false]) {
    const { job } = await fixture.submit({
      items: [{ id: 'w0', fields: { size: 5 } }],
      options: { mode: 'async', dryRun },
    });
    await fixture.engine.waitForJob('acme', job.jobId, 10_000);
    const told = await outbox();
    expect(told.map(({ kind }) => kind).sort()).toEqual(dryRun ? ['completed'] : ['changed', 'completed']);
    expect(told.find(({ kind }) => kind === 'completed').told).toMatchObject({
      jobId: job.jobId,
      collection: 'widgets',
      status: 'completed',
      summary: { total: 1, succeeded: 1, failed: 0, notProcessed: 0 },
      dryRun,
      createdAt: expect.any(String),
    });
    await fixture.sql.query('truncate outbox');
  }
});

test('the times of a job are told as they are read, whatever they are', async () => {
  const { job } = await fixture.submit({ items: [{ id: 'w0', fields: { size: 6 } }] });
  for (const [createdAt, completedAt] of [
    ['2026-01-01T00:00:00.120000Z', '2026-01-01T00:00:01Z'],
    ['2026-01-01T00:00:00.123456Z', '2026-07-01T12:00:00.9Z'],
  ]) {
    await fixture.sql.query('update docket.jobs set created_at = $1, completed_at = $2', [createdAt, completedAt]);
    const ended = endedJob('acme', parseJobId(job.jobId) as string);
    const { rows } = await fixture.engine.pool.query<{ job: object }>(sql`select j.job from ${ended} j`);
    const read = await fixture.engine.getJob('acme', job.jobId);
    expect(rows[0]?.job).toMatchObject({ createdAt: read.createdAt, completedAt: read.completedAt });
  }
});

test('an item that is replayed is not told again', async () => {
  const items = [{ id: 'w0', fields: { size: 9 }, idempotencyKey: 'once' }];
  await fixture.submit({ items });
  await fixture.submit({ items });
  expect(await outbox()).toHaveLength(1);
});

test('one that cannot be told does not happen', async () => {
  await fixture.sql.query('alter table outbox add constraint never check (kind is null) not valid');
  await expect(fixture.submit([{ id: 'w0', size: 99 }])).rejects.toThrow(/never/);
  await fixture.sql.query('alter table outbox drop constraint never');
  expect((await fixture.engine.readRecord('acme', 'widgets', 'w0'))?.fields.size).toBe(1);
  expect(await outbox()).toEqual([]);
});

test('a channel of one’s own is heard, until that is ended', async () => {
  let heard = 0;
  const stop = fixture.engine.onNotify('outbox', () => {
    heard += 1;
  });
  // why more than once: it may not be listened to yet
  const notify = () => fixture.engine.pool.query(sql`select pg_notify('outbox', '')`);
  await waitUntil(() => notify().then(() => heard > 0), 'it is heard');
  stop();
  expect(() => fixture.engine.onNotify('Outbox; drop', () => {})).toThrow(TypeError);
});
