import { setImmediate } from 'node:timers/promises';
import { createEngine, defineCollection, type Job, type Json } from '@docket/engine';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Live } from '../src/runtime/live.ts';
import { mountCollections } from '../src/runtime/mounts.ts';
import { Runner } from '../src/runtime/runner.ts';
import { createPool } from '../src/storage/pool.ts';
import { assertInvariants } from './invariants.ts';
import { cutConnections, holdLocks, waitForLock, waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf, silent, submissionOf, verdicts, widgets } from './widgets.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(async () => {
  try {
    await assertInvariants(fixture.sql);
  } finally {
    await fixture.close();
  }
});

const async = { mode: 'async' };
async function submitJob(ids: readonly string[], fields: Json = { size: 5 }): Promise<string> {
  const outcome = await fixture.submit({ items: ids.map((id) => ({ id, fields })), options: async } as Json);
  return outcome.job.jobId;
}
const ended = (jobId: string): Promise<Job> => fixture.engine.waitForJob('acme', jobId, 25_000);
const cut = (application: string, condition?: string) => cutConnections(fixture.sql, application, condition);

describe('start and stop', () => {
  test('fifty times, also overlapping, while jobs run: every job completes', async () => {
    const ids = await fixture.seed(3000);
    const jobs = [
      await submitJob(ids),
      await submitJob(ids.slice(0, 700), { note: 'x' }),
      await submitJob(['w1', 'w1']),
    ];
    const pool = createPool({ url: fixture.url, max: 3, applicationName: 'docket-worker' });
    const mounts = await mountCollections(pool, [{ collection: widgets as never }]);
    const live = new Live(fixture.url, silent);
    await live.start();
    const options = {
      pool,
      mounts,
      live,
      logger: silent,
      concurrency: 3,
      keyTtlSeconds: 60,
      jobTtlSeconds: 60,
      onDecided() {},
      tellEffect: () => undefined,
    };
    const runner = new Runner(options);
    const stops: Promise<void>[] = [];
    for (let n = 0; n < 50; n++) {
      runner.start();
      if (n % 3 === 0) runner.start();
      for (let ticks = n % 7; ticks > 0; ticks--) await setImmediate();
      if (n % 2) await runner.stop();
      else stops.push(runner.stop(), runner.stop());
    }
    await Promise.all(stops);
    runner.start();
    const stopping = runner.stop();
    runner.start();
    await stopping;
    for (const job of jobs) expect((await ended(job)).status).toBe('completed');
    await runner.stop();
    // nothing runs any more: what is submitted now is there for the step by hand
    const late = await submitJob(['w0'], { note: 'late' });
    expect(await runner.runOnce()).toMatchObject({ applied: 1 });
    expect(await runner.runOnce()).toEqual({ applied: 0 });
    expect((await ended(late)).status).toBe('completed');
    await live.stop();
    await pool.end();
  });

  test('of an engine may be repeated, and leaves no connection behind', async () => {
    const engine = await fixture.createEngine();
    await engine.startWorkers();
    await engine.startWorkers();
    await fixture.seed(1);
    await ended(await submitJob(['w0']));
    await Promise.all([engine.stop(), engine.stop()]);
    await engine.stop();
    await waitUntil(async () => {
      const { rows } = await fixture.sql.query(
        `select 1 from pg_stat_activity where datname = current_database() and application_name = 'docket-worker'`,
      );
      return rows.length === 0;
    }, 'the connections of the workers are gone');
  });

  test('finishes the chunks at hand', async () => {
    const ids = await fixture.seed(10);
    const engine = await fixture.createEngine();
    await engine.startWorkers();
    const release = await holdLocks(fixture.sql, `select 1 from widgets where widget_id = 'w3' for update`);
    const job = await submitJob(ids);
    await waitForLock(fixture.sql, 'docket-worker');
    const stopped = engine.stop();
    await release();
    await stopped;
    expect((await fixture.engine.getJob('acme', job)).status).toBe('completed');
  });

  test('workers before the tables were checked are refused', async () => {
    const engine = createEngine({
      databaseUrl: fixture.url,
      collections: [{ collection: widgets as never }],
      logger: silent,
    });
    await expect(engine.startWorkers()).rejects.toThrow('checkTables');
    await engine.stop();
  });
});

describe('a chunk is applied exactly once', () => {
  test('when its worker loses the connection in the middle', async () => {
    const ids = await fixture.seed(10);
    await fixture.engine.startWorkers();
    const release = await holdLocks(fixture.sql, `select 1 from widgets where widget_id = 'w3' for update`);
    const job = await submitJob(ids);
    for (let kills = 0; kills < 3; kills++) {
      await waitForLock(fixture.sql, 'docket-worker');
      expect(await cut('docket-worker', `wait_event_type = 'Lock'`)).toBe(1);
    }
    await release();
    expect((await ended(job)).summary).toEqual({ total: 10, succeeded: 10, failed: 0, notProcessed: 0 });
    expect((await fixture.sql.query('select distinct version from widgets')).rows).toEqual([{ version: 2 }]);
  });

  test('when workers are killed at any moment of a long job', async () => {
    const ids = await fixture.seed(8000);
    await fixture.engine.startWorkers();
    const job = await submitJob(ids);
    let kills = 0;
    await waitUntil(
      async () => {
        if (kills < 8) kills += await cut('docket-worker', `state <> 'idle'`);
        return (await fixture.engine.getJob('acme', job)).status === 'completed';
      },
      'the job has completed',
      25_000,
    );
    expect(kills).toBeGreaterThan(0);
    expect((await fixture.sql.query('select distinct version from widgets')).rows).toEqual([{ version: 2 }]);
  });

  test('when a foreign transaction makes it a deadlock', async () => {
    const ids = await fixture.seed(2);
    await fixture.engine.startWorkers();
    const foreign = await fixture.sql.connect();
    await foreign.query(
      `begin; set local deadlock_timeout = '20s'; select 1 from widgets where widget_id = 'w1' for update`,
    );
    const job = await submitJob(ids);
    await waitForLock(fixture.sql, 'docket-worker');
    await foreign.query(`update widgets set created_at = now() where widget_id = 'w0'`);
    await foreign.query('commit');
    foreign.release();
    expect((await ended(job)).summary.succeeded).toBe(2);
  });

  test('of a synchronous batch too', async () => {
    const ids = await fixture.seed(2);
    const foreign = await fixture.sql.connect();
    await foreign.query(
      `begin; set local deadlock_timeout = '20s'; select 1 from widgets where widget_id = 'w1' for update`,
    );
    const answer = resultsOf(fixture.submit(ids.map((id) => ({ id, size: 5 }))));
    await waitForLock(fixture.sql, 'docket');
    await foreign.query(`update widgets set created_at = now() where widget_id = 'w0'`);
    await foreign.query('commit');
    foreign.release();
    expect(verdicts(await answer)).toEqual(['changed', 'changed']);
  });

  test('when two processes work on the same long job', async () => {
    await fixture.seed(20_000);
    const other = await fixture.createEngine();
    const { job: submitted } = await fixture.submit({ where: {}, fields: { size: 5 } });
    const job = submitted.jobId;
    await Promise.all([fixture.engine.startWorkers(), other.startWorkers()]);
    expect((await ended(job)).summary).toEqual({ total: 20_000, succeeded: 20_000, failed: 0, notProcessed: 0 });
    expect((await fixture.sql.query('select version, count(*)::int as n from widgets group by 1')).rows).toEqual([
      { version: 2, n: 20_000 },
    ]);
  });
});

test('a lost connection of a request is told as database_unavailable, and the next request is served', async () => {
  await fixture.seed(2);
  const release = await holdLocks(fixture.sql, `select 1 from widgets where widget_id = 'w0' for update`);
  const submission = submissionOf(fixture.engine, [{ id: 'w0', size: 5 }], {
    idempotency: { key: 'k', payloadHash: 'h' },
  });
  const answer = fixture.engine.submit(submission).catch((error: unknown) => error);
  await waitForLock(fixture.sql, 'docket');
  await cut('docket');
  expect(await answer).toMatchObject({ code: 'database_unavailable', details: { retryAfter: expect.any(Number) } });
  await release();
  expect((await fixture.engine.submit(submission)).replayed).toBe(false);
  expect((await fixture.engine.readRecord('acme', 'widgets', 'w0'))?.version).toBe(2);
});

test('jobs end and waits return while the connection for notifications is cut', async () => {
  await fixture.seed(1);
  await fixture.engine.startWorkers();
  for (let n = 0; n < 3; n++) {
    const job = await submitJob(['w0'], { size: 20 + n });
    await cut('docket-live');
    expect((await ended(job)).status).toBe('completed');
  }
  await waitUntil(async () => {
    const { rows } = await fixture.sql.query(
      `select 1 from pg_stat_activity where datname = current_database() and application_name = 'docket-live'`,
    );
    return rows.length === 1;
  }, 'it listens again');
});

describe('a fault in the rules of a collection', () => {
  const broken = (fault: { check?: () => never; loadContext?: () => Promise<never> }) => ({
    collection: defineCollection({
      name: 'broken',
      idField: 'id_',
      table: widgets.table,
      fields: widgets.schema,
      ...(fault.check ? { check: fault.check } : {}),
    }) as never,
    ...(fault.loadContext ? { loadContext: fault.loadContext } : {}),
  });
  const fail = () => {
    throw new Error('a bug');
  };

  test.each([{ check: fail }, { loadContext: async () => fail() }])(
    'fails the items as internal, and nothing else',
    async (fault) => {
      const ids = await fixture.seed(3);
      const logged: unknown[] = [];
      const collections = [broken(fault), { collection: widgets as never }];
      const logger = { ...silent, error: (details: object) => logged.push(details) };
      const engine = await fixture.createEngine({ collections, logger });
      await engine.startWorkers();
      const items = ids.map((id) => ({ id, fields: { size: 9 } }));
      const { job } = await engine.submit(
        submissionOf(engine, { items, options: async } as Json, { collection: 'broken' }),
      );
      expect((await ended(await submitJob(ids))).summary.succeeded).toBe(3);
      expect((await ended(job.jobId)).summary).toEqual({ total: 3, succeeded: 0, failed: 3, notProcessed: 0 });
      const { items: results } = await engine.jobResults({ tenantId: 'acme', jobId: job.jobId, limit: 10 });
      expect(results[0]).toMatchObject({ status: 'failed', retryable: true, error: { code: 'internal' } });
      expect(JSON.stringify(results)).not.toContain('a bug');
      expect(logged).toMatchObject([{ err: expect.objectContaining({ message: 'a bug' }), chunkNo: 0 }]);
      await expect(engine.submit(submissionOf(engine, items, { collection: 'broken' }))).rejects.toThrow('a bug');
    },
  );

  test('but a database that has no room left makes the chunk wait, however often it is tried', async () => {
    const ids = await fixture.seed(3);
    let tries = 0;
    const loadContext = async () => {
      tries += 1;
      if (tries <= 6) throw Object.assign(new Error('no space left'), { code: '53100' });
    };
    const engine = await fixture.createEngine({ collections: [{ collection: widgets as never, loadContext }] });
    await engine.startWorkers();
    const items = ids.map((id) => ({ id, fields: { size: 9 } }));
    const { job } = await engine.submit(submissionOf(engine, { items, options: async } as Json));
    expect((await ended(job.jobId)).summary).toEqual({ total: 3, succeeded: 3, failed: 0, notProcessed: 0 });
    expect(tries).toBe(7);
  });
});
