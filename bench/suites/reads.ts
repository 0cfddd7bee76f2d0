import type { Environment } from '../environment.ts';
import { requestsPerSecond } from '../load.ts';
import { median, type Report, round } from '../statistics.ts';

const rounds = 5;

/** GET of one case, beside a Fastify route that says hello. */
export async function reads(env: Environment): Promise<Report> {
  const paths = env.ids(0, 1_000).map((id) => `/api/v1/cases/${id}`);
  const ratios: number[] = [];
  const rates: number[] = [];
  const hellos: number[] = [];
  let tool = '';
  for (let series = 0; series < rounds; series++) {
    const common = { connections: 64, seconds: 4 };
    const hello = await requestsPerSecond({ ...common, url: env.helloUrl, paths: ['/'], headers: {} });
    const ours = await requestsPerSecond({ ...common, url: env.url, paths, headers: env.headers });
    tool = ours.by;
    ratios.push(ours.rate / hello.rate);
    rates.push(ours.rate);
    hellos.push(hello.rate);
  }
  const ratio = round(median(ratios), 2);
  return {
    rows: [
      {
        what: `GET one case, 64 connections (${tool})`,
        measured: `${Math.round(median(rates)).toLocaleString('en')} /s`,
        comparedWith: `${Math.round(median(hellos)).toLocaleString('en')} /s (hello world)`,
        ratio,
        target: '>= 0.55 of hello world',
        met: ratio >= 0.55,
      },
    ],
  };
}
