import type { Engine } from '@docket/engine';
import type { FastifyBaseLogger } from 'fastify';
import type { WorkMetrics } from '../http/metrics.ts';
import { removeOldDeliveries, removeOrphanedDeliveries } from '../webhooks/delivery-store.ts';
import type { Task } from './background.ts';

/** Below the time until the next one. */
const longestMs = 50_000;
const week = 7 * 24 * 3600;

export interface ExpiryOptions {
  engine: Engine;
  metrics: WorkMetrics;
  logger: Pick<FastifyBaseLogger, 'info'>;
  /** Deliveries of webhooks are kept as long as jobs, and a week at least: their retries go on for days. */
  jobTtlSeconds: number | undefined;
}

/** Removes each minute what has outlived its time; what there is too much of for one minute is left to the next. */
export function expiryTask({ engine, metrics, logger, jobTtlSeconds = week }: ExpiryOptions): Task {
  return {
    name: 'expiry',
    cron: '* * * * *',
    async run(stopping) {
      const signal = AbortSignal.any([stopping, AbortSignal.timeout(longestMs)]);
      const removed = { ...(await engine.removeExpired({ signal })), deliveries: 0 };
      for (let more = true; more && !signal.aborted; ) {
        const old = await removeOldDeliveries(engine.pool, Math.max(jobTtlSeconds, week));
        const count = old + (await removeOrphanedDeliveries(engine.pool));
        removed.deliveries += count;
        more = count > 0;
      }
      for (const [kind, count] of Object.entries(removed)) metrics.countRemoved(kind, count);
      if (Object.values(removed).some((count) => count > 0)) logger.info(removed, 'removed what has expired');
    },
  };
}
