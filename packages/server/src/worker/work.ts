import type { FastifyBaseLogger } from 'fastify';
import { startBackground } from '../background/background.ts';
import { expiryTask } from '../background/expiry.ts';
import type { Config } from '../config.ts';
import { engineFor } from '../engine.ts';
import type { WorkMetrics } from '../http/metrics.ts';
import { Deliverer } from '../webhooks/deliverer.ts';
import { SealedSecrets } from '../webhooks/sealed-secrets.ts';
import { targetPolicy } from '../webhooks/targets.ts';

export interface WorkOptions {
  config: Config;
  databaseUrl: string;
  logger: FastifyBaseLogger;
  metrics: WorkMetrics;
}

/** Starts all that is done without a request that waits for it: chunks of jobs, webhooks, expiry. Gives back what stops it. */
export async function startWork({ config, databaseUrl, logger, metrics }: WorkOptions): Promise<() => Promise<void>> {
  const engine = engineFor({ config, databaseUrl, logger, metrics });
  await engine.checkTables();
  await engine.startWorkers();
  const expiry = expiryTask({ engine, metrics, logger, jobTtlSeconds: config.settings.jobTtlSeconds });
  const background = startBackground({ databaseUrl, logger, tasks: [expiry] });
  const secrets = new SealedSecrets(config.secretsKeys);
  const deliverer = new Deliverer({ engine, logger, metrics, policy: targetPolicy(config), secrets });
  deliverer.start();
  return async () => {
    await Promise.all([deliverer.stop(), background.stop()]);
    await engine.stop();
  };
}
