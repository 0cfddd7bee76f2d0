import type { Environment } from '../environment.ts';
import type { Floor } from '../floor.ts';
import { endOf, send, statusOf, updates } from '../requests.ts';
import { median, perSecond, type Report, round } from '../statistics.ts';

const rounds = 5;
const items = 50_000;
const perJob = 10_000;

/** 50,000 items as five JSON jobs, beside the same writes in bare SQL over as many connections. */
export async function throughput(env: Environment, floor: Floor): Promise<Report> {
  const ratios: number[] = [];
  const ours: number[] = [];
  const bare: number[] = [];
  for (let series = 0; series < rounds; series++) {
    const ids = env.ids(series * 30_000, items);
    const floorMs = await floor.jobs(ids, statusOf(series), perJob);
    const started = performance.now();
    const jobs: string[] = [];
    for (let from = 0; from < items; from += perJob) {
      const part = updates(ids.slice(from, from + perJob), statusOf(series), { mode: 'async' });
      jobs.push((await send(env, '/api/v1/cases/bulk-update', part)).jobId as string);
    }
    for (const job of jobs) await endOf(env, job);
    const ms = performance.now() - started;
    ratios.push(floorMs / ms);
    ours.push(ms);
    bare.push(floorMs);
  }
  const ratio = round(median(ratios), 2);
  return {
    rows: [
      {
        what: '50,000 items as five jobs, POST to completed',
        measured: perSecond(items, median(ours)),
        comparedWith: `${perSecond(items, median(bare))} (floor)`,
        ratio,
        target: '>= 0.7 of the floor',
        met: ratio >= 0.7,
      },
    ],
  };
}
