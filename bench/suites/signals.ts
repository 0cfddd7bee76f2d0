import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Caller, Environment } from '../environment.ts';
import { endOf, ndjson, send, statusOf, updates, upload } from '../requests.ts';
import { quantile, type Report, type Row, round } from '../statistics.ts';

const streams = 2_000;
const jobItems = 100;
const progressItems = 100_000;
/** Between two jobs whose webhooks are timed. */
const betweenJobsMs = 25;
/** Streams that are being opened at a time. */
const opening = 100;

/** When the end of each job was committed, as a connection to the database of our own hears it. */
class Ends {
  readonly #client: pg.Client;
  readonly #at = new Map<string, number>();

  private constructor(client: pg.Client) {
    this.#client = client;
    client.on('notification', ({ payload = '' }) => this.#at.set(payload, performance.now()));
  }

  static async listen(databaseUrl: string): Promise<Ends> {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    const ends = new Ends(client);
    await client.query('listen docket_job_ended');
    return ends;
  }

  /** Milliseconds from the commit of a job's end to a time; not below zero, since both are heard here. */
  since(jobId: string, at: number): number {
    return Math.max(0, at - (this.#at.get(jobId) ?? at));
  }

  /** Makes everything that was committed before known. */
  async settle(): Promise<void> {
    await this.#client.query('select 1');
  }

  close(): Promise<void> {
    return this.#client.end();
  }
}

/** Everything that signals are measured with: where servers and receivers are told, closed together. */
interface Bench {
  env: Environment;
  ends: Ends;
  client: pg.Client;
}

async function transactions({ client }: Bench): Promise<number> {
  // why: what a connection did is counted after a while, or when it is idle for a second
  await delay(1_500);
  const { rows } = await client.query(
    'select xact_commit + xact_rollback as count from pg_stat_database where datname = current_database()',
  );
  return Number(rows[0].count);
}

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

async function submitJob(caller: Caller, ids: readonly string[], series: number, options: object = {}) {
  const body = updates(ids, statusOf(series), { mode: 'async', ...options });
  return (await send(caller, '/api/v1/cases/bulk-update', body)).jobId as string;
}

interface Followed {
  jobId: string;
  endedAt: number;
}

/** Follows a job over a connection of its own. Resolves once the first event has come; `ended`, with its last. */
async function follow({ url, headers }: Caller, jobId: string): Promise<{ ended: Promise<Followed> }> {
  const request = get(`${url}/api/v1/jobs/${jobId}/events`, { headers, agent: false });
  const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage];
  let tail = '';
  let endedAt = 0;
  let told = () => {};
  const first = new Promise<void>((resolve) => {
    told = resolve;
  });
  response.on('data', (data: Buffer) => {
    tail = (tail + data.toString('latin1')).slice(-4_000);
    if (endedAt === 0 && tail.includes('\nevent: end\n')) endedAt = performance.now();
    if (tail.includes('\nevent: ')) told();
  });
  const ended = once(response, 'end').then(() => ({ jobId, endedAt }));
  await first;
  return { ended };
}

/** Opens some streams at a time, on these jobs in turn. */
async function followMany(caller: Caller, jobIds: readonly string[], from = 0): Promise<Promise<Followed>[]> {
  const some = Array.from({ length: opening }, (_, n) => follow(caller, jobIds[(from + n) % jobIds.length] as string));
  return (await Promise.all(some)).map(({ ended }) => ended);
}

/** Jobs that all wait for one case, and those who follow them; then the case is let go of. */
async function followJobs(bench: Bench, jobs: number): Promise<Row[]> {
  const { env, ends } = bench;
  const holder = new pg.Client({ connectionString: env.databaseUrl });
  await holder.connect();
  await holder.query('begin');
  await holder.query('select 1 from docket.cases where case_id = $1 for update', env.ids(0, 1));
  const jobIds: string[] = [];
  for (let n = 0; n < jobs; n++)
    jobIds.push(await submitJob(env, [...env.ids(0, 1), ...env.ids(1 + n * jobItems, jobItems - 1)], n));
  const idle = { rss: await rssOf(env.serverPid), queries: await transactions(bench) };
  const opened = performance.now();
  const followed: Promise<Followed>[] = [];
  for (let n = 0; n < streams; n += opening) followed.push(...(await followMany(env, jobIds, n)));
  const openMs = performance.now() - opened;
  const open = { rss: await rssOf(env.serverPid), queries: await transactions(bench) };
  await holder.query('rollback');
  await holder.end();
  const all = await Promise.all(followed);
  await ends.settle();
  const delays = all.map(({ jobId, endedAt }) => ends.since(jobId, endedAt));
  const after = await transactions(bench);
  const what = `${streams} streams on ${jobs === 1 ? 'one job' : `${jobs} jobs`}`;
  const lost = all.filter(({ endedAt }) => endedAt === 0).length;
  if (lost > 0) throw new Error(`${lost} streams ended without the end of their job.`);
  const plain = (name: string, measured: string, target = '', met = true): Row => {
    return { what: `${what}: ${name}`, measured, comparedWith: '', ratio: null, target, met };
  };
  const p95 = round(quantile(delays, 0.95), 0);
  return [
    plain('opened', `${Math.round((streams / openMs) * 1_000)}/s`),
    plain('transactions a stream, to open', String(round((open.queries - idle.queries) / streams, 2))),
    plain('transactions a stream, from then on', String(round((after - open.queries) / streams, 2)), '< 1'),
    plain('memory a stream', `${round((open.rss - idle.rss) / streams, 0)} KiB`),
    plain('commit to end, p50', `${round(quantile(delays, 0.5), 0)} ms`),
    plain('commit to end, p95', `${p95} ms`, '< 1000 ms', p95 < 1_000),
  ];
}

/** A job of many chunks, and beside it reads: what it costs them that very many follow it. */
async function followProgress({ env }: Bench): Promise<Row[]> {
  const alone = await timeLargeJob(env, 0);
  const followed = await timeLargeJob(env, streams);
  const job = `job of ${progressItems.toLocaleString('en')} items`;
  const row = (what: string, ms: number, beside: number): Row => ({
    what: `${what} beside ${streams} streams`,
    measured: `${round(ms, 0)} ms`,
    comparedWith: `${round(beside, 0)} ms (nobody follows)`,
    ratio: round(ms / beside, 2),
    target: '',
    met: true,
  });
  return [row(job, followed.jobMs, alone.jobMs), row('GET one case, p50', followed.readMs, alone.readMs)];
}

/** From when all who follow are there to the end of a job, and the median of what reads take meanwhile. */
async function timeLargeJob(env: Environment, followers: number): Promise<{ jobMs: number; readMs: number }> {
  const jobId = await upload(env, ndjson(env.ids(0, progressItems), statusOf(followers)), '?priority=low');
  await send(env, `/api/v1/jobs/${jobId}/pause`, {});
  const followed: Promise<Followed>[] = [];
  for (let n = 0; n < followers; n += opening) followed.push(...(await followMany(env, [jobId])));
  const began = performance.now();
  await send(env, `/api/v1/jobs/${jobId}/resume`, {});
  let running = true;
  const ended = endOf(env, jobId).finally(() => {
    running = false;
  });
  const reads: number[] = [];
  while (running) {
    const at = performance.now();
    await (await fetch(`${env.url}/api/v1/cases/${env.ids(0, 1)[0]}`, { headers: env.headers })).text();
    reads.push(performance.now() - at);
    await delay(20);
  }
  await ended;
  const jobMs = performance.now() - began;
  await Promise.all(followed);
  return { jobMs, readMs: quantile(reads, 0.5) };
}

/** Webhooks of one job after the other, from the commit of the end to the request at a receiver. */
async function timeWebhooks(bench: Bench, name: string, jobs: number): Promise<Row[]> {
  const { env, ends } = bench;
  const at = new Map<string, number>();
  const receiver = await receive((jobId) => at.set(jobId, performance.now()), 0);
  const { webhookId } = await subscribe(env, receiver.url);
  const jobIds: string[] = [];
  for (let n = 0; n < jobs; n++) {
    jobIds.push(await submitJob(env, env.ids(n * jobItems, jobItems), n));
    await delay(betweenJobsMs);
  }
  const patience = performance.now() + 15_000;
  while (at.size < jobs && performance.now() < patience) await delay(20);
  await ends.settle();
  const delays = jobIds.map((jobId) => ends.since(jobId, at.get(jobId) ?? Number.POSITIVE_INFINITY));
  await fetch(`${env.url}/api/v1/webhooks/${webhookId}`, { method: 'DELETE', headers: env.headers });
  await receiver.close();
  const row = (q: number, target: number | undefined): Row => {
    const ms = round(quantile(delays, q), 0);
    return {
      what: `webhook, commit to first attempt, ${name}, p${q * 100}`,
      measured: `${ms} ms`,
      comparedWith: '',
      ratio: null,
      target: target === undefined ? '' : `< ${target} ms`,
      met: target === undefined || ms < target,
    };
  };
  return [row(0.5, undefined), row(0.95, 1_000)];
}

async function subscribe(caller: Caller, url: string): Promise<{ webhookId: string }> {
  return (await send(caller, '/api/v1/webhooks', { url, events: ['job.completed'] })) as { webhookId: string };
}

interface BenchReceiver {
  url: string;
  close(): Promise<void>;
}

/** Answers after a time, or never. */
async function receive(note: (jobId: string) => void, answerAfterMs: number | undefined): Promise<BenchReceiver> {
  const server: Server = createServer(async (request, response) => {
    const { data } = JSON.parse(Buffer.concat(await request.toArray()).toString()) as { data: { jobId: string } };
    note(data.jobId);
    if (answerAfterMs === undefined) return;
    await delay(answerAfterMs);
    response.writeHead(204).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Tenants with so many endpoints each at a receiver, and events for all of them. */
async function crowd(
  env: Environment,
  params: { name: string; url: string; tenants: number; each: number; jobs: number },
) {
  for (let tenant = 0; tenant < params.tenants; tenant++) {
    const caller = await env.addTenant(`${params.name}-${tenant}`, jobItems);
    for (let n = 0; n < params.each; n++) await subscribe(caller, `${params.url}${n}`);
    for (let n = 0; n < params.jobs; n++) await submitJob(caller, env.ids(0, jobItems), n);
  }
}

/** How soon, and at what cost, those who wait are told. */
export async function signals(env: Environment): Promise<Report> {
  const client = new pg.Client({ connectionString: env.databaseUrl });
  await client.connect();
  const ends = await Ends.listen(env.databaseUrl);
  const bench = { env, ends, client };
  const silent = await receive(() => {}, undefined);
  const slow = await receive(() => {}, 10_000);
  const rows: Row[] = [];
  try {
    rows.push(...(await followJobs(bench, 1)), ...(await followJobs(bench, 200)));
    rows.push(...(await followProgress(bench)));
    rows.push(...(await timeWebhooks(bench, 'alone', 200)));
    await subscribe(env, silent.url);
    await subscribe(env, slow.url);
    rows.push(...(await timeWebhooks(bench, 'beside a dead and a slow one', 200)));
    await crowd(env, { name: 'dead', url: silent.url, tenants: 3, each: 100, jobs: 10 });
    rows.push(...(await timeWebhooks(bench, 'beside 300 dead ones', 100)));
    await crowd(env, { name: 'slow', url: slow.url, tenants: 1, each: 100, jobs: 20 });
    rows.push(...(await timeWebhooks(bench, 'beside 300 dead and 100 slow ones', 100)));
  } finally {
    await silent.close();
    await slow.close();
    await ends.close();
    await client.end();
  }
  return { rows };
}
