import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { holdLocks, waitForLock, waitUntil } from '../../../engine/test/wait-until.ts';
import { createCases } from '../served.ts';
import { checkRound, countOpenJobs, expireUploads } from './checks.ts';
import { Cluster, canMount, type Tenant } from './cluster.ts';
import { Random } from './random.ts';
import { Workload } from './workload.ts';

/*
 * Everything that can break breaks while clients write in every way there is. After each round: what was acknowledged is there,
 * once; the rest is there wholly or not at all; all jobs have ended, within 10 s of the fault's end.
 *
 * `npm test` runs a few rounds of each, `npm run test:faults` all. FAULT_SEED repeats the choices of a run, not its timing.
 */

const recoveryMs = 10_000;
const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000);
const full = inject('faultRounds') === 'full';
const mountable = await canMount();
const cluster = new Cluster();
const figures: { fault: string; items: number; writeMs: number | undefined; endMs: number }[] = [];

beforeAll(() => cluster.start({ api: 2, worker: 2 }), 60_000);
afterAll(async () => {
  report();
  await cluster.stop();
}, 60_000);

/** Something breaks; resolves when it is whole again. */
type Fault = (random: Random, workload: Workload) => Promise<void>;

interface Round {
  cases?: number;
  /** Whether clients write in the background. */
  busy?: boolean;
}

function itSurvives(what: string, rounds: { short: number; full: number }, fault: Fault, round: Round = {}): void {
  const count = full ? rounds.full : rounds.short;
  it(
    `survives ${what}, ${count} rounds`,
    async () => {
      for (let n = 0; n < count; n++) {
        const own = seed + 1_000_003 * n;
        await runRound(what, new Random(own), fault, round).catch((error: Error) => {
          const servers = cluster.members.map(({ role, server }) => `${role}:\n${server?.output().slice(-600)}`);
          error.message = `Round ${n + 1} of FAULT_SEED=${seed}: ${error.message}\n${servers.join('\n')}`;
          throw error;
        });
      }
    },
    count * 45_000,
  );
}

async function runRound(
  what: string,
  random: Random,
  fault: Fault,
  { cases = 2_000, busy = true }: Round,
): Promise<void> {
  const { sql } = cluster;
  await cluster.startDead();
  const ids = idsOf(cases);
  await emptyTables(sql);
  for (const tenant of cluster.tenants) await createCases({ call: cluster.callAs(tenant) }, ids);
  const workload = new Workload(cluster, random, ids);
  try {
    if (busy) {
      workload.start();
      const chunks = random.integer(3, 15);
      await waitUntil(async () => {
        workload.throwFailure();
        return (await countAppliedChunks(sql)) >= chunks;
      }, `${chunks} chunks are applied`);
    }
    await fault(random, workload);

    const ended = performance.now();
    const writing = busy ? workload.firstWrite() : undefined;
    await expireUploads(sql);
    const writeMs = writing && (await writing) - ended;
    await workload.stop();
    await expireUploads(sql);
    await waitUntil(async () => (await countOpenJobs(sql)) === 0, 'all jobs have ended', 30_000);
    const endMs = performance.now() - ended;
    await checkRound(sql, workload.operations);
    const items = workload.operations.reduce((sum, operation) => sum + operation.succeeded.size, 0);
    figures.push({ fault: what, items, writeMs, endMs });
    const slowest = `in ms; slowest: ${JSON.stringify(workload.slowest)}`;
    expect(writeMs ?? 0, `time to the first write, ${slowest}`).toBeLessThan(recoveryMs);
    expect(endMs, `time to the end of all jobs, ${slowest}`).toBeLessThan(recoveryMs);
  } finally {
    workload.abandon();
  }
}

function idsOf(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `CASE-${String(n).padStart(5, '0')}`);
}

async function emptyTables(sql: pg.Pool): Promise<void> {
  await sql.query(
    `truncate docket.cases, docket.changes, docket.jobs, docket.job_chunks, docket.runnable_jobs, docket.item_keys,
       docket.idempotency_keys, docket.usage`,
  );
}

async function countAppliedChunks(sql: pg.Pool): Promise<number> {
  const { rows } = await sql.query(
    `select count(*)::int as done from docket.job_chunks c join docket.jobs j using (tenant_id, job_id)
     where c.state = 'done' and j.operation = 'update' and not j.synchronous`,
  );
  return rows[0].done;
}

function report(): void {
  for (const [fault, rounds] of Map.groupBy(figures, (one) => one.fault)) {
    const told = (what: string, values: number[]) => {
      const [median, most] = [values.sort((a, b) => a - b)[values.length >> 1], values.at(-1)];
      return values.length > 0 ? `; ${what} after ${median?.toFixed()} ms, at most ${most?.toFixed()} ms` : '';
    };
    const items = rounds.reduce((sum, one) => sum + one.items, 0);
    const written = told(
      'first write',
      rounds.flatMap((one) => one.writeMs ?? []),
    );
    const ended = told(
      'all jobs ended',
      rounds.map((one) => one.endMs),
    );
    process.stdout.write(`${fault}: ${rounds.length} rounds, ${items} items${written}${ended}\n`);
  }
}

describe(`under load (FAULT_SEED=${seed})`, () => {
  itSurvives('processes that are killed, and come and go', { short: 2, full: 50 }, async (random) => {
    const victims = random.sample(cluster.members, random.integer(1, cluster.members.length));
    await Promise.all(victims.map((member) => cluster.end(member, random.chance(0.8) ? 'kill' : 'stop')));
    // why: as long as one of each is left, nobody has to come back
    const canWait = cluster.living('api').length > 0 && cluster.living('worker').length > 0;
    if (!canWait || random.chance(0.5)) await cluster.startDead();
  });

  itSurvives('PostgreSQL stopped at once', { short: 1, full: 20 }, () => cluster.crashDatabase());

  itSurvives('all connections being cut', { short: 1, full: 10 }, async (_, workload) => {
    const before = workload.refusals;
    await cluster.wire.cut();
    await waitUntil(() => workload.refusals >= before + 5, 'clients were refused');
    for (const { url } of cluster.living('api')) {
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
      expect((await fetch(`${url}/readyz`)).status).toBe(503);
    }
    await cluster.wire.connect();
  });

  itSurvives('a network that falls silent', { short: 1, full: 10 }, async (random) => {
    cluster.wire.fallSilent();
    await delay(random.integer(500, full ? 12_000 : 1_500));
    cluster.wire.speak({ thaw: full && random.chance(0.3) });
  });

  const fill = mountable ? itSurvives : skip('needs leave to mount a small file system');
  fill('a full disk', { short: 1, full: 5 }, async (_, workload) => {
    const before = workload.refusals;
    try {
      await waitUntil(async () => {
        await cluster.fillDisk();
        workload.throwFailure();
        return workload.refusals >= before + 10;
      }, 'clients were refused');
      for (const { url } of cluster.living('api')) expect((await fetch(`${url}/healthz`)).status).toBe(200);
    } finally {
      await cluster.freeDisk();
    }
    await waitUntil(() => cluster.answers(), 'PostgreSQL answers', 30_000);
  });
});

describe('against a transaction of somebody else', () => {
  const cases = full ? 10_000 : 4_000;

  itSurvives(
    'a deadlock',
    { short: 1, full: 5 },
    async (_, workload) => {
      const [tenant] = cluster.tenants as [Tenant];
      const [first, last] = ['CASE-00000', 'CASE-00999'];
      const lock = (id: string) =>
        `select from docket.cases where tenant_id = '${tenant.id}' and case_id = '${id}' for update`;
      const deadlocks = await countDeadlocks();
      const foreign = await cluster.sql.connect();
      try {
        // why: each waiting transaction looks for a deadlock once, so the circle must be closed before Docket's one looks; and the
        // other one waits for longer, so it is Docket's that is ended
        await setDeadlockTimeout("'4s'");
        for (const statement of ['begin', "set local deadlock_timeout = '10s'", lock(last)])
          await foreign.query(statement);
        void workload.runJob(tenant, idsOf(1_000));
        await waitForLock(cluster.sql, 'docket-worker');
        await foreign.query(lock(first));
        await waitUntil(async () => (await countDeadlocks()) > deadlocks, 'PostgreSQL has told of the deadlock');
        await foreign.query('commit');
      } finally {
        foreign.release(true);
        await setDeadlockTimeout('default');
      }
    },
    { busy: false },
  );

  itSurvives(
    'a case that stays locked',
    { short: 1, full: 3 },
    async (random, workload) => {
      const [tenant, other] = cluster.tenants as [Tenant, Tenant];
      const stuck = random.integer(0, cases - 1);
      const release = await holdLocks(
        cluster.sql,
        `select from docket.cases where tenant_id = '${tenant.id}' and case_id = '${idsOf(cases)[stuck]}' for update`,
      );
      void workload.runJob(tenant);
      await waitUntil(
        async () => (await countAppliedChunks(cluster.sql)) === cases / 1_000 - 1,
        'all chunks but one are applied',
      );
      await workload.runJob(other);
      await workload.runJob(
        tenant,
        idsOf(cases).filter((_, n) => n !== stuck),
      );
      expect(await countOpenJobs(cluster.sql)).toBe(1);
      await release();
    },
    { busy: false, cases },
  );
});

function skip(why: string): typeof itSurvives {
  return (what) => it.skip(`survives ${what} (${why})`);
}

async function setDeadlockTimeout(value: string): Promise<void> {
  await cluster.sql.query(`alter system set deadlock_timeout = ${value}`);
  await cluster.sql.query('select pg_reload_conf()');
}

async function countDeadlocks(): Promise<number> {
  const { rows } = await cluster.sql.query(
    'select deadlocks::int as seen from pg_stat_database where datname = current_database()',
  );
  return rows[0].seen;
}
