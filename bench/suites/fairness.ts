import { lineChart } from '../charts.ts';
import type { Caller, Environment } from '../environment.ts';
import { endOf, ndjson, statusOf, upload } from '../requests.ts';
import { quantile, type Report, type Row, round } from '../statistics.ts';
import { smallJobs } from './latency.ts';

const equalTenants = 10;
const equalItems = 20_000;

const percentiles = [0.5, 0.75, 0.9, 0.95, 0.99];

/** What a job has to suffer from the jobs of others. */
export async function fairness(env: Environment): Promise<Report> {
  const { rows, charts } = await besideLargeJob(env);
  return { rows: [...rows, await amongEquals(env), await priorityFirst(env)], ...(charts ? { charts } : {}) };
}

/** Another tenant's jobs of 100, with nothing else to do and beside a job of 1,000,000. */
async function besideLargeJob(env: Environment): Promise<Report> {
  const small = await env.addTenant('small', 10_000);
  const ids = env.ids(0, 10_000);
  await smallJobs(small, { ids, series: 0, until: (count) => count === 100 });
  const idle = await smallJobs(small, { ids, series: 1, until: (count) => count === 200 });
  let ended = false;
  const large = await upload(env, ndjson(env.ids(0, env.cases), 'Under Review'));
  const end = endOf(env, large).finally(() => {
    ended = true;
  });
  const beside = await smallJobs(small, { ids, series: 3, until: (count) => ended || count === 1_000 });
  await end;
  const p95 = quantile(beside, 0.95);
  const ratio = round(p95 / quantile(idle, 0.95), 2);
  const at = (times: readonly number[]) => percentiles.map((q) => round(quantile(times, q)));
  return {
    rows: [
      {
        what: `job of 100 beside one of ${env.cases.toLocaleString('en')}, p95 of ${beside.length}`,
        measured: `${round(p95)} ms (p50 ${round(quantile(beside, 0.5))})`,
        comparedWith: `${round(quantile(idle, 0.95))} ms idle (p50 ${round(quantile(idle, 0.5))})`,
        ratio,
        target: '<= 100 ms and <= 3 x idle',
        met: p95 <= 100 && ratio <= 3,
      },
    ],
    charts: {
      fairness: lineChart({
        title: 'A job of 100, 202 to completed, in ms',
        labels: percentiles.map((q) => `p${q * 100}`),
        xName: 'percentile',
        series: [
          { name: "beside another tenant's job of 1,000,000", values: at(beside) },
          { name: 'idle', values: at(idle) },
        ],
      }),
    },
  };
}

async function amongEquals(env: Environment): Promise<Row> {
  const tenants: Caller[] = [];
  for (let number = 0; number < equalTenants; number++) {
    tenants.push(await env.addTenant(`equal-${number}`, equalItems));
  }
  const pieces = ndjson(env.ids(0, equalItems), 'Under Review');
  const started = performance.now();
  const times = await Promise.all(
    tenants.map(async (tenant) => {
      await endOf(tenant, await upload(tenant, pieces));
      return performance.now() - started;
    }),
  );
  const first = Math.min(...times);
  const last = Math.max(...times);
  const ratio = round(last / first, 2);
  return {
    what: `${equalTenants} tenants with ${equalItems.toLocaleString('en')} items each, last to end`,
    measured: `${Math.round(last)} ms`,
    comparedWith: `${Math.round(first)} ms (first to end)`,
    ratio,
    target: '<= 1.2 x the first',
    met: ratio <= 1.2,
  };
}

async function priorityFirst(env: Environment): Promise<Row> {
  const started = performance.now();
  const time = async (query: string, from: number) => {
    await endOf(env, await upload(env, ndjson(env.ids(from, 50_000), statusOf(1)), query));
    return performance.now() - started;
  };
  const normal = time('', 0);
  const high = time('?priority=high', 50_000);
  const [normalMs, highMs] = [await normal, await high];
  return {
    what: 'two jobs of 50,000 of one tenant, `high` sent last',
    measured: `${Math.round(highMs)} ms`,
    comparedWith: `${Math.round(normalMs)} ms (\`normal\`)`,
    ratio: round(highMs / normalMs, 2),
    target: '< 1: ends first',
    met: highMs < normalMs,
  };
}
