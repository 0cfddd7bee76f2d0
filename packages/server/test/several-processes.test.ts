import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { assertInvariants } from '../../engine/test/invariants.ts';
import { holdLocks, waitForLock } from '../../engine/test/wait-until.ts';
import type { Answer, Call } from './call.ts';
import { casesTable } from './cases-table.ts';
import { createCases } from './served.ts';
import { adminKey, type ServerProcess, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
let database: Awaited<ReturnType<typeof createDatabase>>;
let apis: [ServerProcess, ServerProcess];
let sql: pg.Pool;
const env = (roles: string) => ({ DATABASE_URL: database.url, DOCKET_ADMIN_KEY: adminKey, DOCKET_ROLES: roles });
const ids = Array.from({ length: 100 }, (_, n) => `CASE-${n}`);

beforeAll(async () => {
  database = await createDatabase();
  sql = processes.sql(database.url);
  // why at once: each finds an empty database, and one of them has to make the tables and the key
  apis = await Promise.all([processes.start(env('api')), processes.start(env('api'))]);
  await processes.start(env('worker'));
  await createCases(apis[0], ids);
}, 60_000);

afterAll(async () => {
  try {
    await processes.clear();
  } finally {
    await database?.drop();
  }
}, 60_000);

function submit(call: Call, title: string, headers: Record<string, string> = {}): Promise<Answer> {
  const items = ids.map((id) => ({ id, fields: { title } }));
  return call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } }, headers);
}

it('applies in the worker what an api process takes, and tells who waits as soon as it has ended', async () => {
  const [one, other] = apis;
  for (let round = 0; round < 3; round++) {
    const letGo = await holdLocks(sql, "select from docket.cases where case_id = 'CASE-0' for update");
    const { status, body: job } = await submit(one.call, `Round ${round}`);
    expect([status, job.status]).toEqual([202, 'pending']);
    const waits = apis.map(({ call }) =>
      call('GET', `/api/v1/jobs/${job.jobId}/status?wait=30`).then((answer) => ({ answer, at: Date.now() })),
    );
    await waitForLock(sql, 'docket-worker');
    // why: an answer to a later request says that the waits are waiting
    for (const { call } of apis) expect((await call('GET', `/api/v1/jobs/${job.jobId}`)).body.status).toBe('pending');
    await letGo();
    for (const wait of waits) {
      const { answer, at } = await wait;
      expect(answer.body).toMatchObject({ status: 'completed', summary: { succeeded: ids.length } });
      const { completedAt } = (await other.call('GET', `/api/v1/jobs/${job.jobId}`)).body;
      console.log('told after', at - Date.parse(completedAt));
      // why: who only looks from time to time looks once a second, and the first look was just before the end
      expect(at - Date.parse(completedAt)).toBeLessThan(500);
    }
    for (const id of ids) {
      const { body } = await other.call('GET', `/api/v1/cases/${id}`);
      expect(body).toMatchObject({ title: `Round ${round}`, version: 2 + round });
    }
  }
});

it('gives a request that is sent fifty times at once one effect', async () => {
  const version = async () => (await apis[1].call('GET', '/api/v1/cases/CASE-7')).body.version as number;
  for (const kind of ['job', 'batch'] as const) {
    const key = `fifty-${kind}`;
    const send = async (n: number): Promise<Answer> => {
      const { call } = apis[n % 2] as ServerProcess;
      if (kind === 'job') return await submit(call, key, { 'idempotency-key': key });
      const body = ids.map((caseId) => ({ caseId, title: key }));
      return await call('PATCH', '/api/v1/cases/bulk-update', body, { 'idempotency-key': key });
    };
    const before = await version();
    const jobs = new Set<string>();
    let fresh = 0;
    let busy = 0;
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => send(n)));
    answers.push(await send(0), await send(1));
    for (const { status, headers, body } of answers) {
      if (status === 409) {
        busy += 1;
        expect(body.code).toBe('idempotency_in_progress');
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
        continue;
      }
      expect(status).toBe(kind === 'job' ? 202 : 200);
      jobs.add(body.jobId);
      if (kind === 'batch') expect(body.summary).toMatchObject({ total: ids.length, succeeded: ids.length });
      if (headers.get('idempotency-replayed') !== 'true') fresh += 1;
    }
    console.log({ kind, busy });
    expect([jobs.size, fresh]).toEqual([1, 1]);
    const [jobId] = jobs;
    await apis[0].call('GET', `/api/v1/jobs/${jobId}/status?wait=30`);
    expect(await version()).toBe(before + 1);
  }
});

it('shows each write through every process as soon as it is acknowledged', async () => {
  for (let n = 0; n < 100; n++) {
    const [writer, reader] = n % 2 ? apis : [apis[1], apis[0]];
    const { body } = await writer.call('PATCH', '/api/v1/cases/CASE-9', { title: `Write ${n}` });
    expect((await reader.call('GET', '/api/v1/cases/CASE-9')).body).toEqual(body);
  }
  await assertInvariants(sql, [casesTable]);
});
