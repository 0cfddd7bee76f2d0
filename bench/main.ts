import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { type Environment, openEnvironment } from './environment.ts';
import { type Floor, openFloor } from './floor.ts';
import { requestsPerSecond } from './load.ts';

/** One measured figure, the floor it is compared with, and the bound that the project sets itself. */
interface Row {
  what: string;
  measured: string;
  floor: string;
  ratio: number | null;
  target: string;
  met: boolean;
}

const workers = 3;
const rounds = 5;
const statuses = ['Under Review', 'On Hold', 'In Progress'];
const round = (value: number, digits = 1) => Number(value.toFixed(digits));

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number;
}
const median = (values: readonly number[]) => quantile(values, 0.5);

async function send(
  env: Environment,
  path: string,
  body: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(env.url + path, { method: 'POST', headers: env.headers, body: JSON.stringify(body) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

function updates(ids: readonly string[], status: string, options: object) {
  return { updates: ids.map((caseId) => ({ caseId, status })), options };
}

async function endOf(env: Environment, jobId: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${env.url}/api/v1/jobs/${jobId}/status?wait=60`, { headers: env.headers });
    const job = (await response.json()) as { status: string; outcome: string | null };
    if (job.outcome === 'all_succeeded') return;
    if (job.outcome) throw new Error(`Job ${jobId} ended with ${job.outcome}.`);
  }
}

async function syncBatch(env: Environment, floor: Floor): Promise<Row> {
  const ratios: number[] = [];
  const ours: number[] = [];
  const bare: number[] = [];
  for (let series = 0; series < rounds; series++) {
    const mine: number[] = [];
    const theirs: number[] = [];
    for (let index = 0; index < 60; index++) {
      const ids = env.ids(series * 20_000 + index * 100, 100);
      const status = statuses[series % statuses.length] as string;
      theirs.push(await floor.batch(ids, status));
      const started = performance.now();
      const { body } = await send(env, '/api/v1/cases/bulk-update', updates(ids, status, { mode: 'sync' }));
      mine.push(performance.now() - started);
      if (body.failed !== 0) throw new Error(`The batch failed: ${JSON.stringify(body).slice(0, 500)}`);
    }
    ratios.push(median(mine) / median(theirs));
    ours.push(median(mine));
    bare.push(median(theirs));
  }
  const ratio = round(median(ratios), 2);
  return {
    what: 'synchronous batch of 100 over HTTP',
    measured: `${round(median(ours))} ms`,
    floor: `${round(median(bare))} ms`,
    ratio,
    target: '<= 2.0 x the floor',
    met: ratio <= 2,
  };
}

async function throughput(env: Environment, floor: Floor): Promise<Row> {
  const items = 50_000;
  const perJob = 10_000;
  const ratios: number[] = [];
  const rates: number[] = [];
  const floorRates: number[] = [];
  for (let series = 0; series < rounds; series++) {
    const ids = env.ids(series * 30_000, items);
    const status = statuses[series % statuses.length] as string;
    const floorMs = await floor.jobs(ids, status, perJob, workers);
    const started = performance.now();
    const jobs: string[] = [];
    for (let from = 0; from < items; from += perJob) {
      const { body } = await send(
        env,
        '/api/v1/cases/bulk-update',
        updates(ids.slice(from, from + perJob), status, { mode: 'async' }),
      );
      jobs.push(body.jobId as string);
    }
    for (const job of jobs) await endOf(env, job);
    const ms = performance.now() - started;
    ratios.push(floorMs / ms);
    rates.push((items / ms) * 1000);
    floorRates.push((items / floorMs) * 1000);
  }
  const ratio = round(median(ratios), 2);
  return {
    what: '50,000 items as five jobs, POST to completed',
    measured: `${Math.round(median(rates)).toLocaleString('en')} items/s`,
    floor: `${Math.round(median(floorRates)).toLocaleString('en')} items/s`,
    ratio,
    target: '>= 0.7 of the floor',
    met: ratio >= 0.7,
  };
}

async function reads(env: Environment): Promise<Row> {
  const paths = env.ids(0, 1_000).map((id) => `/api/v1/cases/${id}`);
  const { authorization } = env.headers;
  const ratios: number[] = [];
  const rates: number[] = [];
  const hellos: number[] = [];
  let tool = '';
  for (let series = 0; series < rounds; series++) {
    const common = { connections: 64, seconds: 4 };
    const hello = await requestsPerSecond({ ...common, url: env.helloUrl, paths: ['/'], headers: {} });
    const ours = await requestsPerSecond({
      ...common,
      url: env.url,
      paths,
      headers: { authorization: authorization as string },
    });
    tool = ours.by;
    ratios.push(ours.rate / hello.rate);
    rates.push(ours.rate);
    hellos.push(hello.rate);
  }
  const ratio = round(median(ratios), 2);
  return {
    what: `GET one case, 64 connections (${tool})`,
    measured: `${Math.round(median(rates)).toLocaleString('en')} /s`,
    floor: `${Math.round(median(hellos)).toLocaleString('en')} /s (hello world)`,
    ratio,
    target: '>= 0.55 of hello world',
    met: ratio >= 0.55,
  };
}

async function jobLatency(env: Environment): Promise<Row[]> {
  const times: number[] = [];
  for (let index = 0; index < 300; index++) {
    const ids = env.ids(index * 100, 100);
    const status = statuses[Math.floor(index / 100) % statuses.length] as string;
    const { body } = await send(env, '/api/v1/cases/bulk-update', updates(ids, status, { mode: 'async' }));
    const accepted = performance.now();
    await endOf(env, body.jobId as string);
    times.push(performance.now() - accepted);
  }
  const p50 = round(quantile(times, 0.5));
  const p99 = round(quantile(times, 0.99));
  return [
    {
      what: 'job of 100, 202 to completed, p50',
      measured: `${p50} ms`,
      floor: '',
      ratio: null,
      target: '< 20 ms',
      met: p50 < 20,
    },
    {
      what: 'job of 100, 202 to completed, p99',
      measured: `${p99} ms`,
      floor: '',
      ratio: null,
      target: '< 100 ms',
      met: p99 < 100,
    },
  ];
}

const suites: Record<string, (env: Environment, floor: Floor) => Promise<Row[]>> = {
  sync: async (env, floor) => [await syncBatch(env, floor)],
  throughput: async (env, floor) => [await throughput(env, floor)],
  latency: jobLatency,
  reads: async (env) => [await reads(env)],
};

// `npm run bench -- reads latency` runs only those
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(suites, name));
if (unknown !== undefined)
  throw new Error(`There is no suite "${unknown}"; there are ${Object.keys(suites).join(', ')}.`);

const env = await openEnvironment();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void env.close().finally(() => process.exit(130)));
}
try {
  const floor = await openFloor(env.databaseUrl);
  const rows = [
    await syncBatch(env, floor),
    await throughput(env, floor),
    ...(await jobLatency(env)),
    await reads(env),
  ];
  await floor.close();
  console.table(Object.fromEntries(rows.map(({ what, ...row }) => [what, row])));
  const machine = { cores: availableParallelism(), cpu: cpus()[0]?.model ?? 'unknown', node: process.version };
  const folder = new URL('results/', import.meta.url);
  await mkdir(folder, { recursive: true });
  await writeFile(new URL('latest.json', folder), `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  if (!rows.every((row) => row.met)) process.exitCode = 1;
} finally {
  await env.close();
}
