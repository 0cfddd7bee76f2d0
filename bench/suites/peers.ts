import { once } from 'node:events';
import { Logger, run } from 'graphile-worker';
import pg from 'pg';
import { PgBoss } from 'pg-boss';
import { barChart } from '../charts.ts';
import type { Environment } from '../environment.ts';
import type { Floor } from '../floor.ts';
import { endOf, ndjson, statusOf, upload } from '../requests.ts';
import { median, perSecond, type Report, type Row, round } from '../statistics.ts';

const items = 5_000;
const rounds = 7;

interface Payload {
  ids: string[];
  status: string;
}

/** A queue with a worker that was written in an afternoon: it loops over the items of its job, one UPDATE each. */
interface Peer {
  name: string;
  /** Enqueues the items as one job. Gives milliseconds until the worker has updated the last of them. */
  update(payload: Payload): Promise<number>;
  close(): Promise<void>;
}

/** The same updates by Docket, and by what a team would write itself on two well-known queues. They keep no results and no history. */
export async function peers(env: Environment, floor: Floor): Promise<Report> {
  const pool = new pg.Pool({ connectionString: env.databaseUrl, max: 4 });
  const loop = async ({ ids, status }: Payload) => {
    for (const id of ids) {
      await pool.query(
        `update bench.cases set status = $2, version = version + 1, updated_at = now()
         where tenant_id = 'default' and case_id = $1`,
        [id, status],
      );
    }
  };
  const others = [await openPgBoss(env.databaseUrl, loop), await openGraphileWorker(env.databaseUrl, loop)];
  const ours: number[] = [];
  const bare: number[] = [];
  const theirs = others.map((): number[] => []);
  for (let series = 0; series < rounds; series++) {
    const ids = env.ids(series * items, items);
    const status = statusOf(series);
    const pieces = ndjson(ids, status);
    const started = performance.now();
    await endOf(env, await upload(env, pieces));
    ours.push(performance.now() - started);
    bare.push(await floor.jobs(ids, status, items));
    for (const [place, peer] of others.entries()) theirs[place]?.push(await peer.update({ ids, status }));
  }
  for (const peer of others) await peer.close();
  await pool.end();
  const rows = others.map(({ name }, place): Row => {
    const ms = median(theirs[place] as number[]);
    const ratio = round(ms / median(ours), 1);
    return {
      what: `${items.toLocaleString('en')} items, beside a ${name} that loops`,
      measured: perSecond(items, median(ours)),
      comparedWith: `${perSecond(items, ms)} (${name})`,
      ratio,
      target: '>= 8 x',
      met: ratio >= 8,
    };
  });
  const rate = (ms: number) => Math.round((items / ms) * 1000);
  return {
    rows,
    charts: {
      peers: barChart({
        title: `Items a second, a job of ${items.toLocaleString('en')} (logarithmic)`,
        bars: [
          { name: 'floor, bare SQL', value: rate(median(bare)) },
          { name: 'Docket, over HTTP', value: rate(median(ours)) },
          ...others.map(({ name }, place) => ({
            name: `${name}, one by one`,
            value: rate(median(theirs[place] as number[])),
          })),
        ],
      }),
    },
  };
}

async function openPgBoss(connectionString: string, loop: (payload: Payload) => Promise<void>): Promise<Peer> {
  const boss = new PgBoss({ connectionString, schema: 'bench_pgboss' });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue('updates');
  const done = doneSignal();
  await boss.work<Payload>('updates', { pollingIntervalSeconds: 0.5 }, async (jobs) => {
    for (const job of jobs) await loop(job.data);
    done.emit();
  });
  return {
    name: 'pg-boss worker',
    update: (payload) => done.after(() => boss.send('updates', payload)),
    close: () => boss.stop({ graceful: false }),
  };
}

async function openGraphileWorker(connectionString: string, loop: (payload: Payload) => Promise<void>): Promise<Peer> {
  const done = doneSignal();
  const runner = await run({
    connectionString,
    schema: 'bench_graphile_worker',
    noHandleSignals: true,
    crontab: '',
    logger: new Logger(() => () => {}),
    taskList: {
      updates: async (payload) => {
        await loop(payload as Payload);
        done.emit();
      },
    },
  });
  return {
    name: 'graphile-worker',
    update: (payload) => done.after(() => runner.addJob('updates', payload)),
    close: () => runner.stop(),
  };
}

function doneSignal() {
  const target = new EventTarget();
  return {
    emit: () => target.dispatchEvent(new Event('done')),
    async after(start: () => Promise<unknown>): Promise<number> {
      const ended = once(target, 'done');
      const started = performance.now();
      await start();
      await ended;
      return performance.now() - started;
    },
  };
}
