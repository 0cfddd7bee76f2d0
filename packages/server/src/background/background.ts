import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyBaseLogger } from 'fastify';
import type { PgBoss } from 'pg-boss';

/** Something that one process at a time does every so often. */
export interface Task {
  name: string;
  /** When, as cron says it, in UTC. */
  cron: string;
  /** Must end soon after `signal` aborts. What it throws is logged; its next time comes all the same. */
  run(signal: AbortSignal): Promise<void>;
}

export interface BackgroundOptions {
  databaseUrl: string;
  logger: FastifyBaseLogger;
  tasks: readonly Task[];
}

export interface Background {
  /** Ends what runs. Idempotent. */
  stop(): Promise<void>;
}

const startAgainMs = 2_000;
const stopMs = 5_000;
/** A process that died in the middle of a task holds its next time up for so long. */
const expireSeconds = 300;

/**
 * Work beside the requests and the chunks, in pg-boss: its own tables in the schema `pgboss`, on two connections of its own. Returns
 * at once; as long as it cannot start, it tries again. A lost database is logged and nothing else.
 */
export function startBackground({ databaseUrl, logger, tasks }: BackgroundOptions): Background {
  const stopping = new AbortController();
  let boss: PgBoss | undefined;
  const started = startUntilDone();
  let stopped: Promise<void> | undefined;

  async function startUntilDone(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        boss = await connect(databaseUrl, logger);
        await boss.start();
        for (const task of tasks) await register(boss, task, stopping.signal, logger);
        return;
      } catch (error) {
        logger.warn({ err: error }, 'the background work could not start; it is tried again');
        await boss?.stop({ graceful: false }).catch(() => undefined);
        await delay(startAgainMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  }

  return {
    stop: () => {
      stopped ??= (async () => {
        stopping.abort();
        const ended = started.then(() => boss?.stop({ timeout: stopMs })).catch(() => undefined);
        // why not longer: a database that is gone must not keep the process from ending
        await Promise.race([ended, delay(2 * stopMs, undefined, { ref: false })]);
      })();
      return stopped;
    },
  };
}

async function connect(databaseUrl: string, logger: FastifyBaseLogger): Promise<PgBoss> {
  // why here: loading it would make each start of the server later
  const { PgBoss } = await import('pg-boss');
  const options = {
    connectionString: databaseUrl,
    schema: 'pgboss',
    application_name: 'docket-background',
    max: 2,
    keepAlive: true,
    query_timeout: 45_000,
    cronWorkerIntervalSeconds: 15,
  };
  const boss = new PgBoss(options);
  boss.on('error', (error) => logger.warn({ err: error }, 'the background work met an error; it goes on'));
  boss.on('warning', (warning) => logger.warn({ warning }, 'the background work warns'));
  return boss;
}

async function register(boss: PgBoss, task: Task, stopping: AbortSignal, logger: FastifyBaseLogger): Promise<void> {
  const { name, cron } = task;
  // why exclusive: while one waits or runs, no other is sent, in whichever process
  await boss.createQueue(name, { policy: 'exclusive', retryLimit: 0, expireInSeconds: expireSeconds });
  await boss.schedule(name, cron);
  await boss.work(name, { pollingIntervalSeconds: 15 }, async ([job]) => {
    if (!job) return;
    try {
      await task.run(AbortSignal.any([job.signal, stopping]));
    } catch (error) {
      logger.warn({ err: error, task: name }, 'a background task failed; it runs again at its next time');
    }
  });
}
