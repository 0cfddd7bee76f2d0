import type { Environment } from '../environment.ts';
import type { Floor } from '../floor.ts';
import { send, statusOf, updates } from '../requests.ts';
import { median, type Report, round } from '../statistics.ts';

const rounds = 5;

/** A batch of 100 that is answered at once, beside the same writes in bare SQL. */
export async function sync(env: Environment, floor: Floor): Promise<Report> {
  const ratios: number[] = [];
  const ours: number[] = [];
  const bare: number[] = [];
  for (let series = 0; series < rounds; series++) {
    const mine: number[] = [];
    const theirs: number[] = [];
    for (let index = 0; index < 60; index++) {
      const ids = env.ids(series * 20_000 + index * 100, 100);
      theirs.push(await floor.batch(ids, statusOf(series)));
      const started = performance.now();
      const body = await send(env, '/api/v1/cases/bulk-update', updates(ids, statusOf(series), { mode: 'sync' }));
      mine.push(performance.now() - started);
      if (body.failed !== 0) throw new Error(`The batch failed: ${JSON.stringify(body).slice(0, 500)}`);
    }
    ratios.push(median(mine) / median(theirs));
    ours.push(median(mine));
    bare.push(median(theirs));
  }
  const ratio = round(median(ratios), 2);
  return {
    rows: [
      {
        what: 'synchronous batch of 100 over HTTP',
        measured: `${round(median(ours))} ms`,
        comparedWith: `${round(median(bare))} ms (floor)`,
        ratio,
        target: '<= 2.0 x the floor',
        met: ratio <= 2,
      },
    ],
  };
}
