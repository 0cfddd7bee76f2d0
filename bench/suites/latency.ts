import type { Caller, Environment } from '../environment.ts';
import { endOf, send, statusOf, updates } from '../requests.ts';
import { quantile, type Report, type Row, round } from '../statistics.ts';

/** Sends jobs of 100, one after the other. Gives back how long each took from the answer 202 to its end, in milliseconds. */
export async function smallJobs(
  caller: Caller,
  params: { ids: readonly string[]; series: number; until: (count: number) => boolean },
): Promise<number[]> {
  const { ids, series, until } = params;
  const perSeries = Math.floor(ids.length / 100);
  const times: number[] = [];
  for (let index = 0; !until(index); index++) {
    const at = (index % perSeries) * 100;
    const status = statusOf(series + Math.floor(index / perSeries));
    const body = await send(
      caller,
      '/api/v1/cases/bulk-update',
      updates(ids.slice(at, at + 100), status, { mode: 'async' }),
    );
    const accepted = performance.now();
    await endOf(caller, body.jobId as string);
    times.push(performance.now() - accepted);
  }
  return times;
}

export async function latency(env: Environment): Promise<Report> {
  const times = await smallJobs(env, { ids: env.ids(0, 10_000), series: 0, until: (count) => count === 300 });
  const row = (name: string, q: number, targetMs: number): Row => {
    const ms = round(quantile(times, q));
    const what = `job of 100, 202 to completed, ${name}`;
    return {
      what,
      measured: `${ms} ms`,
      comparedWith: '',
      ratio: null,
      target: `< ${targetMs} ms`,
      met: ms < targetMs,
    };
  };
  return { rows: [row('p50', 0.5, 20), row('p99', 0.99, 100)] };
}
