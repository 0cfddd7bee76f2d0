import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { type Environment, openEnvironment } from './environment.ts';
import { type Floor, openFloor } from './floor.ts';
import type { Report, Row } from './statistics.ts';
import { fairness } from './suites/fairness.ts';
import { latency } from './suites/latency.ts';
import { memory } from './suites/memory.ts';
import { million } from './suites/million.ts';
import { peers } from './suites/peers.ts';
import { reads } from './suites/reads.ts';
import { signals } from './suites/signals.ts';
import { sync } from './suites/sync.ts';
import { throughput } from './suites/throughput.ts';

interface Suite {
  /** How many cases the first tenant has. */
  cases: number;
  run(env: Environment, floor: Floor): Promise<Report>;
}

const suites: Record<string, Suite> = {
  sync: { cases: 200_000, run: sync },
  throughput: { cases: 200_000, run: throughput },
  latency: { cases: 200_000, run: latency },
  reads: { cases: 200_000, run: reads },
  peers: { cases: 200_000, run: peers },
  signals: { cases: 200_000, run: signals },
  memory: { cases: 200_000, run: memory },
  million: { cases: 1_000_000, run: million },
  fairness: { cases: 1_000_000, run: fairness },
};

// `npm run bench -- reads latency` runs only those
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(suites, name));
if (unknown !== undefined) {
  throw new Error(`There is no suite "${unknown}"; there are ${Object.keys(suites).join(', ')}.`);
}

const results = new URL('results/', import.meta.url);
const images = new URL('../docs/images/', import.meta.url);
const machine = { cores: availableParallelism(), cpu: cpus()[0]?.model ?? 'unknown', node: process.version };
let env: Environment | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void env?.close().finally(() => process.exit(130)));
}

const rows: Row[] = [];
try {
  for (const [name, suite] of Object.entries(suites)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    if (env?.cases !== suite.cases) {
      await env?.close();
      env = await openEnvironment(suite.cases);
    }
    const floor = await openFloor(env.databaseUrl);
    const report = await suite.run(env, floor);
    rows.push(...report.rows);
    for (const [file, svg] of Object.entries(report.charts ?? {})) await writeFile(new URL(`${file}.svg`, images), svg);
    await floor.close();
  }
  console.table(Object.fromEntries(rows.map(({ what, ...row }) => [what, row])));
  await mkdir(results, { recursive: true });
  await writeFile(new URL('latest.json', results), `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  if (!rows.every((row) => row.met)) process.exitCode = 1;
} finally {
  await env?.close();
}
