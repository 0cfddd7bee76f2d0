import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '@docket/engine';
import type { FastifyBaseLogger } from 'fastify';
import type { WorkMetrics } from '../http/metrics.ts';
import { attemptDelivery } from './attempt.ts';
import {
  type BusyLane,
  type ClaimedDelivery,
  claimDeliveries,
  recordAttempt,
  releaseDelivery,
} from './delivery-store.ts';
import { renderEvent } from './events.ts';
import { presentEventId } from './ids.ts';
import { webhookChannel } from './outbox.ts';
import { nextStep, retryDelays } from './retries.ts';
import { signatureHeaders } from './signature.ts';
import { type Resolve, resolveName, type TargetPolicy } from './targets.ts';

export interface DelivererOptions {
  engine: Engine;
  logger: Pick<FastifyBaseLogger, 'info' | 'warn'>;
  metrics: WorkMetrics;
  policy: TargetPolicy;
  /** For one attempt. Default 15,000. */
  timeoutMs?: number;
  /** Seconds from a failed attempt to the next; after the last of them, no more. Default: `retryDelays`. */
  delays?: readonly number[];
  resolve?: Resolve;
}

/** Attempts that are under way at a time. */
const concurrency = 256;
/** How often to look for what has become due, or whose process died, in milliseconds. */
const lookAgainMs = 1_000;
/** How long attempts may go on when the server stops. */
const drainMs = 5_000;

/**
 * Delivers what is due, in any number of processes at once: each delivery is claimed by a lease, attempted, and what came of it
 * written down. A process that dies in between leaves it to the others once the lease is over, so a receiver may get it twice, but
 * not never. `start` and `stop` are idempotent.
 */
export class Deliverer {
  readonly #options: Required<DelivererOptions>;
  readonly #stopping = new AbortController();
  readonly #underWay = new Map<Promise<void>, ClaimedDelivery>();
  #wake: () => void = () => {};
  #signals = 0;
  #ended = false;
  #loop: Promise<void> | undefined;

  constructor(options: DelivererOptions) {
    this.#options = { timeoutMs: 15_000, delays: retryDelays, resolve: resolveName, ...options };
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Lets the attempts under way end, for five seconds; what then has not ended is left to other processes. */
  async stop(): Promise<void> {
    if (!this.#loop) return;
    const ended = this.#drain(this.#loop);
    await Promise.race([ended, delay(2 * drainMs, undefined, { ref: false })]);
  }

  async #drain(loop: Promise<void>): Promise<void> {
    this.#ended = true;
    this.#signal();
    const late = setTimeout(() => this.#stopping.abort(), drainMs);
    await loop;
    await Promise.all(this.#underWay.keys());
    clearTimeout(late);
  }

  #signal(): void {
    this.#signals += 1;
    this.#wake();
  }

  async #run(): Promise<void> {
    const { engine, logger } = this.#options;
    const stopListening = engine.onNotify(webhookChannel, () => this.#signal());
    let failures = 0;
    while (!this.#ended) {
      const seen = this.#signals;
      try {
        const limit = concurrency - this.#underWay.size;
        const claimed = limit > 0 ? await claimDeliveries(engine.pool, { busy: this.#busyLanes(), limit }) : [];
        failures = 0;
        for (const delivery of claimed) this.#begin(delivery);
      } catch (error) {
        failures += 1;
        if (failures === 1) logger.warn({ err: error }, 'cannot look for webhooks to deliver; it is tried again');
      }
      await this.#sleep(seen);
    }
    stopListening();
  }

  /** Until a delivery comes, an attempt ends, or it is time to look. */
  async #sleep(seen: number): Promise<void> {
    if (this.#signals !== seen) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, lookAgainMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  #busyLanes(): BusyLane[] {
    const lanes = new Map<string, BusyLane>();
    for (const { tenantId, lane } of this.#underWay.values()) {
      const key = JSON.stringify([tenantId, lane]);
      const busy = lanes.get(key);
      if (busy) busy.count += 1;
      else lanes.set(key, { tenantId, lane, count: 1 });
    }
    return [...lanes.values()];
  }

  #begin(delivery: ClaimedDelivery): void {
    const attempt = this.#attempt(delivery)
      // why not more: its lease ends, and it is attempted again
      .catch((error) => this.#options.logger.warn({ err: error }, 'could not write down what became of a webhook'))
      .finally(() => {
        this.#underWay.delete(attempt);
        this.#signal();
      });
    this.#underWay.set(attempt, delivery);
  }

  async #attempt(delivery: ClaimedDelivery): Promise<void> {
    const { engine, policy, resolve, timeoutMs, delays, metrics, logger } = this.#options;
    const { url, envelope, secrets, traceparent } = delivery;
    const at = new Date();
    const { body, contentType } = renderEvent(delivery, envelope);
    const headers = {
      'content-type': contentType,
      'user-agent': 'Docket-Webhooks',
      ...signatureHeaders({ id: presentEventId(delivery.eventId), timestamp: at, body }, secrets),
      ...(traceparent === null ? {} : { traceparent }),
    };
    const attempt = await attemptDelivery(
      { url, headers, body },
      { policy, resolve, timeoutMs },
      this.#stopping.signal,
    );
    if (this.#stopping.signal.aborted && attempt.status === null) return await releaseDelivery(engine.pool, delivery);
    const step = nextStep(attempt, delivery.tries + 1, { delays, random: Math.random });
    await recordAttempt(engine.pool, delivery, { attempt, at, step });
    metrics.countWebhookAttempt(step.kind);
    if (step.kind === 'give_up') {
      const { tenantId, endpointId, type } = delivery;
      logger.info({ tenantId, endpointId, type, error: attempt.error }, 'gave up a webhook');
    }
  }
}
