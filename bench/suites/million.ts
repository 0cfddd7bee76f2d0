import pg from 'pg';
import { lineChart } from '../charts.ts';
import type { Environment } from '../environment.ts';
import type { Floor } from '../floor.ts';
import { endOf, ndjson, statusOf, upload } from '../requests.ts';
import { median, perSecond, quantile, type Report, round } from '../statistics.ts';

/** Sizes of a job, each with how often it is run. */
const sizes = [
  { items: 1_000, rounds: 15 },
  { items: 10_000, rounds: 15 },
  { items: 100_000, rounds: 5 },
  { items: 1_000_000, rounds: 3 },
];

/** One job from its upload as NDJSON to completed, at growing sizes, beside the same writes in bare SQL. */
export async function million(env: Environment, floor: Floor): Promise<Report> {
  const database = new pg.Client({ connectionString: env.databaseUrl });
  await database.connect();
  const ours: number[] = [];
  const bare: number[] = [];
  const ratios: number[] = [];
  let series = 0;
  for (const { items, rounds } of sizes) {
    const mine: number[] = [];
    const theirs: number[] = [];
    for (let index = 0; index < rounds; index++) {
      series += 1;
      const ids = env.ids(series * 100_000, items);
      const pieces = ndjson(ids, statusOf(series));
      if (items >= 100_000) await settle(database);
      theirs.push(await floor.jobs(ids, statusOf(series), items));
      if (items >= 100_000) await settle(database);
      const started = performance.now();
      const job = await upload(env, pieces);
      await endOf(env, job);
      mine.push(performance.now() - started);
    }
    ours.push(median(mine) / items);
    bare.push(median(theirs) / items);
    ratios.push(median(theirs.map((ms, index) => ms / (mine[index] as number))));
  }
  // why apart: fifty questions a second take a share of two cores that the floor does not have to give
  await settle(database);
  const statusTimes = await watchStatus(env, await upload(env, ndjson(env.ids(0, 1_000_000), statusOf(series + 1))));
  await database.end();
  const ratio = round(ratios[3] as number, 2);
  const growth = round((ours[3] as number) / (ours[1] as number), 2);
  const p99 = round(quantile(statusTimes, 0.99));
  const rate = (msPerItem: number) => Math.round(1_000 / msPerItem);
  return {
    rows: [
      {
        what: '1,000,000 items as one upload, POST to completed',
        measured: perSecond(1, ours[3] as number),
        comparedWith: `${perSecond(1, bare[3] as number)} (floor)`,
        ratio,
        target: '>= 0.85 of the floor',
        met: ratio >= 0.85,
      },
      {
        what: 'cost of an item at 1,000,000',
        measured: `${round((ours[3] as number) * 1000)} us`,
        comparedWith: `${round((ours[1] as number) * 1000)} us at 10,000`,
        ratio: growth,
        target: '<= 1.2 x',
        met: growth <= 1.2,
      },
      {
        what: `status of the job while it runs, p99 of ${statusTimes.length}`,
        measured: `${p99} ms (p50 ${round(quantile(statusTimes, 0.5))})`,
        comparedWith: '',
        ratio: null,
        target: '< 5 ms',
        met: p99 < 5,
      },
    ],
    charts: {
      'items-per-second': lineChart({
        title: 'Items a second, upload to completed',
        labels: sizes.map(({ items }) => items.toLocaleString('en')),
        xName: 'items in the job',
        series: [
          { name: 'Docket, over HTTP', values: ours.map(rate) },
          { name: 'floor, bare SQL', values: bare.map(rate) },
        ],
      }),
    },
  };
}

/** What an earlier round left to clean up is not part of the next one. */
async function settle(database: pg.Client): Promise<void> {
  await database.query('vacuum docket.cases');
  await database.query('vacuum bench.cases');
  await database.query('checkpoint');
}

/** How long each of the questions took, until the job has ended. */
async function watchStatus(env: Environment, job: string): Promise<number[]> {
  const times: number[] = [];
  for (;;) {
    const started = performance.now();
    const response = await fetch(`${env.url}/api/v1/jobs/${job}/status`, { headers: env.headers });
    const { outcome } = (await response.json()) as { outcome: string | null };
    times.push(performance.now() - started);
    if (outcome) return times;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
