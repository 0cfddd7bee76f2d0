import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '@docket/engine';
import type pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { assertInvariants, assertUsage } from '../../engine/test/invariants.ts';
import { holdLocks, waitForLock, waitUntil } from '../../engine/test/wait-until.ts';
import type { Call } from './call.ts';
import { casesTable } from './cases-table.ts';
import { createCases } from './served.ts';
import { adminKey, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
afterEach(() => processes.clear(), 60_000);

const env = { DOCKET_ADMIN_KEY: adminKey, DOCKET_SEED: 'none' };
// why: on a fast machine more workers would be done before the last kill
const settings = 'export default { workers: 2 };';
const jobItems = 10_000;
const chunkItems = 1_000;
const broadJobs = 5;
const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
const broadIds = numbered('BROAD', jobItems);
const repeatedIds = numbered('AGAIN', 10);
const batchIds = numbered('BATCH', 200);

type Updates = { id: string; fields: { [name: string]: Json } }[];

async function submitJob(call: Call, items: Updates): Promise<string> {
  const { status, body } = await call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });
  expect(status).toBe(202);
  return body.jobId;
}

/** Every case in each of five jobs, each from another place on, and one job that goes over ten cases a thousand times. */
async function submitJobs(call: Call): Promise<{ broad: string[]; ordered: string }> {
  const ordered = await submitJob(
    call,
    Array.from({ length: jobItems }, (_, n) => ({
      id: repeatedIds[n % repeatedIds.length] as string,
      fields: { title: `Step ${n}` },
    })),
  );
  const broad: string[] = [];
  for (let job = 0; job < broadJobs; job++) {
    const shifted = [...broadIds.slice(job * 1_500), ...broadIds.slice(0, job * 1_500)];
    const items = shifted.map((id) => ({ id, fields: { data: { [`job${job}`]: true } } }));
    broad.push(await submitJob(call, items));
  }
  return { broad, ordered };
}

/** Cases that the batch of a request with an idempotency key changes, each key another field. */
function sendBatch(call: Call, key: string) {
  const items = batchIds.map((id) => ({ id, fields: { data: { [key]: true } } }));
  return call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'sync' } }, { 'idempotency-key': key });
}

async function countDoneChunks(sql: pg.Pool): Promise<number> {
  const { rows } = await sql.query(
    `select count(*)::int as done from docket.job_chunks c join docket.jobs j using (tenant_id, job_id)
     where c.state = 'done' and not j.synchronous and j.operation = 'update'`,
  );
  return rows[0].done;
}

/** A dead server's connections end a moment after it, when their backends notice. */
async function waitForSilence(sql: pg.Pool): Promise<void> {
  await waitUntil(async () => {
    const { rows } = await sql.query(
      "select count(*)::int as open from pg_stat_activity where application_name in ('docket', 'docket-worker', 'docket-live')",
    );
    return rows[0].open === 0;
  }, 'the connections of the dead server have ended');
}

async function waitForEnd(call: Call, jobId: string): Promise<void> {
  await waitUntil(
    async () => (await call('GET', `/api/v1/jobs/${jobId}/status?wait=30`)).body.status === 'completed',
    `job ${jobId} is completed`,
    60_000,
  );
}

async function readResults(call: Call, jobId: string) {
  const { text } = await call('GET', `/api/v1/jobs/${jobId}/results`, undefined, { accept: 'application/x-ndjson' });
  return text
    .trim()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { index: number; id: string; status: string; changed: boolean; version: number },
    );
}

/** Each item of each job was applied once, and those for one case in their order. */
async function checkEffects(call: Call, sql: pg.Pool, { broad, ordered }: { broad: string[]; ordered: string }) {
  for (const jobId of [...broad, ordered]) {
    await waitForEnd(call, jobId);
    const { body: job } = await call('GET', `/api/v1/jobs/${jobId}`);
    expect(job).toMatchObject({
      status: 'completed',
      outcome: 'all_succeeded',
      summary: { total: jobItems, succeeded: jobItems, failed: 0, notProcessed: 0 },
    });
    const results = await readResults(call, jobId);
    expect(results.map((one) => one.index)).toEqual(Array.from({ length: jobItems }, (_, n) => n));
    expect(results.every((one) => one.status === 'succeeded' && one.changed)).toBe(true);
    if (jobId === ordered) {
      expect(results.map((one) => one.version)).toEqual(
        Array.from({ length: jobItems }, (_, n) => 2 + Math.floor(n / repeatedIds.length)),
      );
    }
  }
  const { rows } = await sql.query(
    `select count(*)::int as cases, min(version) as least, max(version) as most, count(distinct data::text)::int as kinds,
       min(data::text)::json as data
     from docket.cases where case_id like 'BROAD-%'`,
  );
  const data = Object.fromEntries(broad.map((_, job) => [`job${job}`, true]));
  expect(rows[0]).toEqual({ cases: jobItems, least: 1 + broadJobs, most: 1 + broadJobs, kinds: 1, data });
  for (const [n, id] of repeatedIds.entries()) {
    const { body } = await call('GET', `/api/v1/cases/${id}`);
    const perCase = jobItems / repeatedIds.length;
    expect(body).toMatchObject({ version: 1 + perCase, title: `Step ${jobItems - repeatedIds.length + n}` });
  }
  await assertInvariants(sql, [casesTable]);
  await assertUsage(sql);
}

describe('a server that is killed in the middle of jobs', () => {
  /** When the second of two batches in flight is overtaken by the kill. */
  const moments: Record<string, (sql: pg.Pool, key: string) => Promise<void>> = {
    sent: async () => {},
    working: (sql) =>
      waitUntil(async () => {
        const { rows } = await sql.query(
          "select from pg_stat_activity where application_name = 'docket' and xact_start is not null and wait_event_type is distinct from 'Lock'",
        );
        return rows.length > 0;
      }, 'the batch is being applied'),
    committed: (sql, key) =>
      waitUntil(async () => {
        const { rows } = await sql.query('select from docket.idempotency_keys where key = $1', [key]);
        return rows.length > 0;
      }, 'the batch is committed'),
  };

  it('goes on where it was, and applies every item exactly once', async () => {
    await writeFile(join(await processes.directory(), 'docket.config.ts'), settings);
    let server = await processes.start(env);
    for (const ids of [broadIds, [...repeatedIds, ...batchIds]]) await createCases(server, ids);
    const jobs = await submitJobs(server.call);
    const chunks = ((broadJobs + 1) * jobItems) / chunkItems;
    const batches: string[] = [];
    let stalled: (() => Promise<void>) | undefined;

    for (const [round, [moment, comes]] of Object.entries(moments).entries()) {
      const sql = await processes.embeddedSql();
      const waiting = `waiting-${moment}`;
      const racing = `racing-${moment}`;
      batches.push(waiting, racing);
      const letGo = await holdLocks(sql, `select from docket.cases where case_id = '${batchIds[0]}' for update`);
      const unanswered = [sendBatch(server.call, waiting)];
      await waitForLock(sql, 'docket');
      const before = await countDoneChunks(sql);
      await waitUntil(async () => (await countDoneChunks(sql)) >= Math.max(before, 4 + 10 * round), 'chunks are done');
      // why: the job that runs in order cannot end before the last kill, however fast the machine is
      stalled ??= await holdLocks(sql, `select from docket.cases where case_id = '${repeatedIds[0]}' for update`);
      if (moment === 'committed') await letGo();
      unanswered.push(sendBatch(server.call, racing));
      const outcomes = Promise.allSettled(unanswered);
      await comes(sql, racing);
      await server.kill();
      if (moment !== 'committed') {
        expect((await outcomes).map((one) => one.status)).toEqual(['rejected', 'rejected']);
        await letGo();
      }

      await waitForSilence(sql);
      const done = await countDoneChunks(sql);
      expect(done).toBeGreaterThan(0);
      expect(done).toBeLessThan(chunks);
      if (round === 1) await assertInvariants(sql, [casesTable]);

      server = await processes.start(env);
      for (const key of [waiting, racing]) {
        const again = await sendBatch(server.call, key);
        expect(again.status).toBe(200);
        expect(again.body.summary).toMatchObject({ total: batchIds.length, succeeded: batchIds.length });
        const replayed = again.headers.get('idempotency-replayed') === 'true';
        if (moment === 'committed') expect(replayed).toBe(true);
        else if (key === waiting) expect(replayed).toBe(false);
      }
    }

    await stalled?.();
    const sql = await processes.embeddedSql();
    await checkEffects(server.call, sql, jobs);
    const { rows } = await sql.query(
      "select version, data from docket.cases where case_id like 'BATCH-%' group by version, data",
    );
    expect(rows).toEqual([
      { version: 1 + batches.length, data: Object.fromEntries(batches.map((key) => [key, true])) },
    ]);
    expect(await server.stop()).toBe(0);
  }, 120_000);
});

describe('a server that is asked to stop in the middle of jobs', () => {
  it('answers what waits, ends well, and goes on with the jobs when it is started again', async () => {
    const first = await processes.start(env);
    for (const ids of [broadIds, [...repeatedIds, ...batchIds]]) await createCases(first, ids);
    const sql = await processes.embeddedSql();
    const letGo = await holdLocks(sql, `select from docket.cases where case_id = '${batchIds[0]}' for update`);
    const jobs = await submitJobs(first.call);
    const asked = first.call('GET', `/api/v1/jobs/${jobs.broad.at(-1)}/status?wait=60`);
    const items = numbered('MISSING', 9_500).map((id) => ({ id, fields: { priority: 'low' } }));
    const waiting = [{ waitForCompletion: true }, {}].map((options) =>
      first.call(
        'POST',
        '/api/v1/cases/bulk-update',
        { items, options: { ...options, priority: 'low' } },
        { prefer: 'wait=60' },
      ),
    );
    const blocked = sendBatch(first.call, 'blocked');
    const patch = first.call('PATCH', `/api/v1/cases/${batchIds[0]}`, { title: 'Blocked' });
    await waitForLock(sql, 'docket', 2);
    await waitUntil(async () => {
      const { rows } = await sql.query('select count(*)::int as waiting from docket.jobs where priority = 0');
      return rows[0].waiting === waiting.length && (await countDoneChunks(sql)) >= 5;
    }, 'all jobs are there, and chunks are done');
    const { rows: low } = await sql.query('select job_id from docket.jobs where priority = 0');
    for (const { job_id } of low) {
      await first.call('POST', `/api/v1/jobs/job_${job_id.replaceAll('-', '')}/pause`);
    }

    const began = performance.now();
    const exit = first.stop();
    const answered = await asked;
    expect([answered.status, answered.body.status === 'completed']).toEqual([200, false]);
    for (const { status, body } of await Promise.all(waiting)) {
      expect([status, body.status]).toEqual([202, 'paused']);
    }
    const { status, body } = await blocked;
    expect([status, body.results[0].error.code]).toEqual([200, 'deadline_exceeded']);
    expect(body.summary).toEqual({ total: 200, succeeded: 199, failed: 0, notProcessed: 1 });
    expect((await patch).body).toMatchObject({ code: 'deadline_exceeded' });
    await letGo().catch(() => undefined);
    expect(await exit).toBe(0);
    expect(performance.now() - began).toBeLessThan(8_000);

    const second = await processes.start(env);
    const restarted = await processes.embeddedSql();
    await checkEffects(second.call, restarted, jobs);
    expect(await second.stop()).toBe(0);
  }, 120_000);
});
