import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '@docket/engine';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import type { FastifyBaseLogger } from 'fastify';
import { ApiKeys, ensureFirstKey } from './api-keys.ts';
import { buildApp } from './app.ts';
import type { Config } from './config.ts';
import { engineFor } from './engine.ts';
import { collectProcessMetrics, createMetrics } from './http/metrics.ts';
import { seedIncidents } from './incidents/seed.ts';
import { migrations } from './migrations.ts';
import { sealSecrets } from './webhooks/endpoint-store.ts';
import { SealedSecrets } from './webhooks/sealed-secrets.ts';
import { targetPolicy } from './webhooks/targets.ts';
import { WorkerThread } from './worker/worker-thread.ts';

/** The tenant of the first key and of the sample data. */
export const firstTenant = 'default';

export interface RunningServer {
  url: string;
  engine: Engine;
  /** The first key, when it was made up just now: nobody can read it again. */
  newKey: string | undefined;
  /** Whether this start was the first on its database. */
  firstStart: boolean;
  /** Answers what is asked already, finishes the chunks at hand, stops what was started. Idempotent. */
  stop(): Promise<void>;
}

/** How long open requests may take to end when the server stops. */
const drainMs = 10_000;

/** Starts everything that the configuration asks for. When a part fails, the parts before it are stopped again. */
export async function startServer(config: Config, logger: FastifyBaseLogger): Promise<RunningServer> {
  const started: (() => Promise<unknown>)[] = [];
  const stop = once(async () => {
    for (const stopPart of started.toReversed()) await stopPart();
  });
  try {
    return await startParts(config, logger, started, stop);
  } catch (error) {
    await stop().catch((failure) => logger.error({ err: failure }, 'could not stop cleanly'));
    throw error;
  }
}

async function startParts(
  config: Config,
  logger: FastifyBaseLogger,
  started: (() => Promise<unknown>)[],
  stop: () => Promise<void>,
): Promise<RunningServer> {
  let databaseUrl = config.databaseUrl;
  let newDatabase = false;
  if (databaseUrl === undefined) {
    const embedded = await startEmbeddedPostgres({ dataDir: config.dataDir, log: (line) => logger.debug(line) });
    started.push(() => embedded.stop());
    databaseUrl = embedded.url;
    newDatabase = embedded.created;
  }
  const metrics = createMetrics();
  collectProcessMetrics(metrics);
  const worker = config.roles.has('worker') ? new WorkerThread({ databaseUrl, logger, metrics }) : undefined;
  started.push(async () => worker?.stop());
  const engine = engineFor({ config, databaseUrl, logger, metrics });
  started.push(() => engine.stop());
  await engine.migrate([migrations]);
  await engine.checkTables();
  const webhookSecrets = new SealedSecrets(config.secretsKeys);
  await sealSecrets(engine.pool, webhookSecrets);
  const newKey = await ensureFirstKey(engine.pool, firstTenant, config.adminKey);
  await seed(config, engine, newDatabase, logger);

  const { publicUrl, corsOrigins } = config.settings;
  const app = await buildApp({
    engine,
    keys: new ApiKeys(engine.pool),
    logger,
    metrics,
    webhookTargets: targetPolicy(config),
    webhookSecrets,
    ...(publicUrl === undefined ? {} : { publicUrl }),
    ...(corsOrigins === undefined ? {} : { corsOrigins }),
  });
  await worker?.begin();
  await app.listen({ host: config.host, port: config.port, listenTextResolver: () => 'listening' });
  const closed = () => Promise.race([app.close(), delay(drainMs, undefined, { ref: false })]);
  started.push(() => Promise.all([closed(), worker?.stop()]));
  return {
    url: urlOf(app.server.address() as AddressInfo),
    engine,
    newKey,
    firstStart: newDatabase || newKey !== undefined,
    stop,
  };
}

/** Loads the sample data into a new embedded database, or into empty tables where it was asked for. */
async function seed(config: Config, engine: Engine, newDatabase: boolean, logger: FastifyBaseLogger): Promise<void> {
  const wanted = config.seed ?? (newDatabase ? 'incidents' : 'none');
  if (wanted === 'none') return;
  const { items } = await engine.listRecords({ tenantId: firstTenant, collection: 'cases', where: {}, limit: 1 });
  if (items.length > 0) return;
  const added = await seedIncidents(engine, firstTenant);
  logger.info({ added }, 'loaded the sample cases');
}

function urlOf({ address, port, family }: AddressInfo): string {
  const any = address === '::' || address === '0.0.0.0';
  const host = any ? '127.0.0.1' : family === 'IPv6' ? `[${address}]` : address;
  return `http://${host}:${port}`;
}

function once(work: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}
