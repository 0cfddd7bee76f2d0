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
      const { call } = apiOf(n);
      if (kind === 'job') return await submit(call, key, { 'idempotency-key': key });
      const body = ids.map((caseId) => ({ caseId, title: key }));
      return await call('PATCH', '/api/v1/cases/bulk-update', body, { 'idempotency-key': key });
    };
    const before = await version();
    const jobs = new Set<string>();
    let fresh = 0;
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => send(n)));
    answers.push(await send(0), await send(1));
    for (const { status, headers, body } of answers) {
      if (status === 409) {
        expect(body.code).toBe('idempotency_in_progress');
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
        continue;
      }
      expect(status).toBe(kind === 'job' ? 202 : 200);
      jobs.add(body.jobId);
      if (kind === 'batch') expect(body.summary).toMatchObject({ total: ids.length, succeeded: ids.length });
      if (headers.get('idempotency-replayed') !== 'true') fresh += 1;
    }
    expect([jobs.size, fresh]).toEqual([1, 1]);
    const [jobId] = jobs;
    await apis[0].call('GET', `/api/v1/jobs/${jobId}/status?wait=30`);
    expect(await version()).toBe(before + 1);
  }
});

it('lets eight clients write the same cases at once, and tells each of them the truth', async () => {
  const counted = 'CASE-0';
  const rounds = 12;
  const created = await apis[0].call('PATCH', `/api/v1/cases/${counted}`, { data: { count: 0 } });
  const versionsBefore = await readVersions(apis[0].call);
  const acknowledged = new Map(ids.map((id) => [id, 0]));
  let counts = 0;
  let lost = 0;

  /** What was acknowledged must be there for every read that starts afterwards, through any process. */
  const acknowledge = async (n: number, id: string, version: number) => {
    acknowledged.set(id, (acknowledged.get(id) ?? 0) + 1);
    const { status, body } = await apiOf(n + 1).call('GET', `/api/v1/cases/${id}`);
    expect(status).toBe(200);
    expect(body.version).toBeGreaterThanOrEqual(version);
  };
  const updateAll = async (n: number, mode: string) => {
    for (let round = 0; round < rounds; round++) {
      const shifted = [...ids.slice(n * 13), ...ids.slice(0, n * 13)];
      const items = shifted.map((id) => ({ id, fields: { data: { [`client${n}`]: round } } }));
      const options = { mode, waitForCompletion: true };
      const { status, body } = await apiOf(n).call('POST', '/api/v1/cases/bulk-update', { items, options });
      expect([status, body.summary.succeeded]).toEqual([200, ids.length]);
      expect(body.results.map((one: { id: string }) => one.id)).toEqual(shifted);
      await Promise.all(
        body.results.map((one: { id: string; version: number }) => acknowledge(n, one.id, one.version)),
      );
    }
  };
  const patch = async (n: number) => {
    for (let round = 0; round < rounds * 5; round++) {
      const id = ids[(round * 7 + n) % ids.length] as string;
      const { status, body } = await apiOf(n).call('PATCH', `/api/v1/cases/${id}`, { title: `${n} ${round}` });
      expect([status, body.title]).toEqual([200, `${n} ${round}`]);
      await acknowledge(n, id, body.version);
    }
  };
  const count = async (n: number) => {
    for (let done = 0; done < rounds; ) {
      const { headers, body } = await apiOf(n).call('GET', `/api/v1/cases/${counted}`);
      const next = { data: { count: body.data.count + 1 } };
      const answer = await apiOf(n).call('PATCH', `/api/v1/cases/${counted}`, next, {
        'if-match': headers.get('etag') as string,
      });
      if (answer.status === 412) {
        expect(answer.body.code).toBe('version_conflict');
        lost += 1;
        continue;
      }
      expect([answer.status, answer.body.version]).toEqual([200, body.version + 1]);
      await acknowledge(n, counted, answer.body.version);
      counts += 1;
      done += 1;
    }
  };
  await Promise.all([
    ...['sync', 'async'].map((mode, n) => updateAll(n, mode)),
    ...[2, 3, 4].map(patch),
    ...[5, 6, 7].map(count),
  ]);

  expect(created.status).toBe(200);
  expect(lost).toBeGreaterThan(0);
  const { body } = await apis[0].call('GET', `/api/v1/cases/${counted}`);
  expect(body.data.count).toBe(counts);
  const versions = await readVersions(apis[1].call);
  for (const [id, times] of acknowledged) {
    expect([id, versions.get(id)]).toEqual([id, (versionsBefore.get(id) as number) + times]);
  }
  await assertInvariants(sql, [casesTable]);
});

function apiOf(n: number): ServerProcess {
  return apis[n % 2] as ServerProcess;
}

async function readVersions(call: Call): Promise<Map<string, number>> {
  const { body } = await call('GET', '/api/v1/cases?limit=200');
  return new Map(body.items.map((one: { caseId: string; version: number }) => [one.caseId, one.version]));
}

it('shows each write through every process as soon as it is acknowledged', async () => {
  for (let n = 0; n < 100; n++) {
    const [writer, reader] = n % 2 ? apis : [apis[1], apis[0]];
    const { body } = await writer.call('PATCH', '/api/v1/cases/CASE-9', { title: `Write ${n}` });
    expect((await reader.call('GET', '/api/v1/cases/CASE-9')).body).toEqual(body);
  }
  await assertInvariants(sql, [casesTable]);
});
