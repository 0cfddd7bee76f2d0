import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import type pg from 'pg';
import { afterEach, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { assertInvariants } from '../../engine/test/invariants.ts';
import { waitUntil } from '../../engine/test/wait-until.ts';
import type { Answer, Call } from './call.ts';
import { casesTable } from './cases-table.ts';
import { createCases } from './served.ts';
import { adminKey, type ServerProcess, ServerProcesses } from './server-processes.ts';
import { Wire } from './wire.ts';

const processes = new ServerProcesses();
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  const failures: unknown[] = [];
  for (const clean of [() => processes.clear(), ...cleanups.splice(0).toReversed()]) {
    await clean().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw new AggregateError(failures, 'Not all could be cleaned up.');
}, 60_000);

const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
const jobIds = numbered('JOB', 10_000);
const jobCount = 3;

/** Writes one case over and over, each time until it is acknowledged, and looks whether it can read what it wrote. */
class Writer {
  readonly #call: Call;
  readonly #caseId: string;
  readonly #send: (key: string, title: string) => Promise<Answer>;
  #stopped = false;
  written = 0;
  refused = 0;
  slowestMs = 0;
  failure: unknown;
  readonly done: Promise<void>;

  constructor(call: Call, caseId: string, batch: boolean) {
    this.#call = call;
    this.#caseId = caseId;
    this.#send = (key, title) => {
      const headers = { 'idempotency-key': key };
      if (!batch) return call('PATCH', `/api/v1/cases/${caseId}`, { title }, headers);
      return call('POST', '/api/v1/cases/bulk-update', [{ caseId, title }], headers);
    };
    this.done = this.#run();
    this.done.catch((error: unknown) => {
      this.failure = error;
    });
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.done;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const key = `${this.#caseId}.${this.written}`;
      await this.#insist(() => this.#send(key, key));
      this.written += 1;
      const { body } = await this.#insist(() => this.#call('GET', `/api/v1/cases/${this.#caseId}`));
      expect([body.version, body.title]).toEqual([1 + this.written, key]);
    }
  }

  /** Sends the same until it is done. Any answer but a refusal that says "later" is a fault. */
  async #insist(send: () => Promise<Answer>): Promise<Answer> {
    for (;;) {
      const began = performance.now();
      const answer = await send();
      this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
      if (answer.status === 200) return answer;
      if (answer.status === 409) expect(answer.body.code).toBe('idempotency_in_progress');
      else expectUnavailable(answer);
      this.refused += 1;
    }
  }
}

async function waitForAll(writers: Writer[], holds: (writer: Writer, n: number) => boolean, what: string) {
  await waitUntil(() => {
    for (const { failure } of writers) if (failure !== undefined) throw failure;
    return writers.every(holds);
  }, `every writer ${what}`);
}

function expectUnavailable({ status, headers, body, text }: Answer): void {
  expect([status, body?.code, text]).toEqual([503, 'database_unavailable', text]);
  expect(headers.get('content-type')).toContain('application/problem+json');
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
}

interface Outage {
  /** A way to the database that the outage does not touch, when it is there. */
  sql: pg.Pool;
  begin(): Promise<void>;
  end(): Promise<void>;
}

async function countDoneChunks(sql: pg.Pool): Promise<number> {
  const { rows } = await sql.query(
    `select count(*)::int as done from docket.job_chunks c join docket.jobs j using (tenant_id, job_id)
     where c.state = 'done' and not j.synchronous and j.operation = 'update'`,
  );
  return rows[0].done;
}

/** Jobs run and clients write while the database goes away twice. */
async function surviveOutages(server: ServerProcess, { sql, begin, end }: Outage): Promise<void> {
  const { call } = server;
  const writerIds = numbered('WRITER', 4);
  for (const ids of [jobIds, writerIds]) await createCases(server, ids);
  const submitted: string[] = [];
  for (let job = 0; job < jobCount; job++) {
    const items = jobIds.map((id) => ({ id, fields: { data: { [`job${job}`]: true } } }));
    const answer = await call('POST', '/api/v1/cases/bulk-update', { items });
    submitted.push(answer.body.jobId);
  }
  const writers = writerIds.map((id, n) => new Writer(call, id, n % 2 === 1));
  for (const chunks of [2, 12]) {
    await waitUntil(async () => (await countDoneChunks(sql)) >= chunks, `${chunks} chunks are done`);
    const waiting = call('GET', `/api/v1/jobs/${submitted.at(-1)}/status?wait=30`);
    const refusedBefore = writers.map((writer) => writer.refused);
    const doneBefore = await countDoneChunks(sql);
    expect(doneBefore).toBeLessThan((jobCount * jobIds.length) / 1_000);
    await begin();
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    await waitForAll(writers, (writer, n) => writer.refused > (refusedBefore[n] as number), 'was refused');
    await end();
    const { status, body } = await waiting;
    if (status !== 503) expect([status, body.jobId]).toEqual([200, submitted.at(-1)]);
    await waitUntil(async () => (await fetch(`${server.url}/readyz`)).status === 200, 'it is ready again');
    const writtenBefore = writers.map((writer) => writer.written);
    await waitForAll(writers, (writer, n) => writer.written > (writtenBefore[n] as number), 'writes again');
  }
  await Promise.all(writers.map((writer) => writer.stop()));
  for (const jobId of submitted) {
    const { body } = await call('GET', `/api/v1/jobs/${jobId}/status?wait=30`);
    expect(body).toMatchObject({ status: 'completed', outcome: 'all_succeeded' });
  }
  const { rows } = await sql.query(
    "select version, count(*)::int as cases from docket.cases where case_id like 'JOB-%' group by version",
  );
  expect(rows).toEqual([{ version: 1 + jobCount, cases: jobIds.length }]);
  for (const writer of writers) expect(writer.slowestMs).toBeLessThan(10_000);
  await assertInvariants(sql, [casesTable]);
  expect(await server.stop()).toBe(0);
}

it('refuses with 503 while it is cut off from its database, and loses nothing', async () => {
  const database = await createDatabase();
  cleanups.push(() => database.drop());
  const wire = new Wire(database.url);
  await wire.connect();
  cleanups.push(() => wire.cut());
  const server = await processes.start({ DATABASE_URL: wire.url, DOCKET_ADMIN_KEY: adminKey });
  await surviveOutages(server, {
    sql: processes.sql(database.url),
    begin: async () => {
      await wire.cut();
      expectUnavailable(await server.call('GET', '/readyz'));
    },
    end: () => wire.connect(),
  });
}, 60_000);

it('serves again, and loses nothing, after its database has crashed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'docket-outage-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const postgres = await startEmbeddedPostgres({ dataDir: join(directory, 'data') });
  cleanups.push(() => postgres.stop());
  const server = await processes.start({ DATABASE_URL: postgres.url, DOCKET_ADMIN_KEY: adminKey });
  await surviveOutages(server, {
    sql: processes.sql(postgres.url),
    begin: async () => {
      const lock = await readFile(join(directory, 'data', 'postgres', 'postmaster.pid'), 'utf8');
      process.kill(Number(lock.split('\n')[0]), 'SIGKILL');
    },
    end: async () => {},
  });
}, 60_000);
