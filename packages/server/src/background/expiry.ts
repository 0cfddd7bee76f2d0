import type { Engine } from '@docket/engine';
import type { FastifyBaseLogger } from 'fastify';
import type { Metrics } from '../http/metrics.ts';
import type { Task } from './background.ts';

/** Below the time until the next one. */
const longestMs = 50_000;

/** Removes each minute what has outlived its time; what there is too much of for one minute is left to the next. */
export function expiryTask(engine: Engine, metrics: Metrics, logger: FastifyBaseLogger): Task {
  return {
    name: 'expiry',
    cron: '* * * * *',
    async run(signal) {
      const removed = await engine.removeExpired({ signal: AbortSignal.any([signal, AbortSignal.timeout(longestMs)]) });
      for (const [kind, count] of Object.entries(removed)) metrics.countRemoved(kind, count);
      if (Object.values(removed).some((count) => count > 0)) logger.info(removed, 'removed what has expired');
    },
  };
}
