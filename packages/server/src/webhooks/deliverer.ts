import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '@docket/engine';
import type { FastifyBaseLogger } from 'fastify';
import type { WorkMetrics } from '../http/metrics.ts';
import { type Attempt, attemptDelivery } from './attempt.ts';
import {
  type ClaimedDelivery,
  claimDeliveries,
  type LaneState,
  type Room,
  recordAttempt,
  releaseDelivery,
} from './delivery-store.ts';
import { renderEvent } from './events.ts';
import { presentEventId } from './ids.ts';
import { webhookChannel } from './outbox.ts';
import { nextStep, retryDelays } from './retries.ts';
import { type SealedSecrets, SecretSealed } from './sealed-secrets.ts';
import { signatureHeaders } from './signature.ts';
import { type Resolve, resolveName, type TargetPolicy } from './targets.ts';

export interface DelivererOptions {
  engine: Engine;
  logger: Pick<FastifyBaseLogger, 'info' | 'warn'>;
  metrics: WorkMetrics;
  policy: TargetPolicy;
  secrets: SealedSecrets;
  /** For one attempt. Default 15,000. */
  timeoutMs?: number;
  /** Seconds from a failed attempt to the next; after the last of them, no more. Default: `retryDelays`. */
  delays?: readonly number[];
  resolve?: Resolve;
}

/**
 * Attempts under way at a time. One that takes longer than `slowMs` moves from the good places to the doubtful ones, and what follows it
 * in its lane with it, as do attempts at endpoints that failed last: so hundreds of receivers that do not answer hold up nobody.
 */
const places = { good: 256, doubtful: 512, all: 1_024 };
const slowMs = 1_000;
/**
 * Attempts under way in a lane: one, until an answer shows that the receiver is there; each that comes promptly doubles it; and fewer
 * where answers are slow.
 */
const widths = { first: 1, slow: 2, most: 8 };
/** Lanes whose width is remembered. */
const knownLanes = 256;
/** How often to look for what has become due, for places that slow attempts have left, and for what a process that died has left. */
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
  readonly #underWay = new Map<Promise<void>, { delivery: ClaimedDelivery; begun: number }>();
  readonly #widths = new Map<string, Pick<LaneState, 'tenantId' | 'lane' | 'width'>>();
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
        const claimed = await claimDeliveries(engine.pool, this.#occupancy());
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

  /** What is known of lanes, and the room beside what is under way. */
  #occupancy(): { known: LaneState[]; room: Room } {
    const known = new Map<string, LaneState>();
    for (const [key, { tenantId, lane, width }] of this.#widths) {
      known.set(key, { tenantId, lane, busy: 0, width, slow: false });
    }
    const since = performance.now() - slowMs;
    let doubtful = 0;
    for (const { delivery, begun } of this.#underWay.values()) {
      const { tenantId, lane } = delivery;
      const state = known.get(keyOf(delivery)) ?? { tenantId, lane, busy: 0, width: widths.first, slow: false };
      const slow = begun < since;
      known.set(keyOf(delivery), { ...state, busy: state.busy + 1, slow: state.slow || slow });
      if (slow || delivery.doubtful) doubtful += 1;
    }
    const all = this.#underWay.size;
    const good = Math.min(places.good - (all - doubtful), places.all - all);
    return { known: [...known.values()], room: { good, doubtful: places.doubtful - doubtful } };
  }

  #widen(delivery: ClaimedDelivery, { error, durationMs }: Attempt): void {
    const key = keyOf(delivery);
    const { width = widths.first } = this.#widths.get(key) ?? {};
    this.#widths.delete(key);
    if (error !== null) return;
    const { tenantId, lane } = delivery;
    const wider = durationMs < slowMs ? Math.min(2 * width, widths.most) : widths.slow;
    this.#widths.set(key, { tenantId, lane, width: wider });
    const [oldest] = this.#widths.keys();
    if (this.#widths.size > knownLanes && oldest !== undefined) this.#widths.delete(oldest);
  }

  #begin(delivery: ClaimedDelivery): void {
    const attempt = this.#attempt(delivery)
      // why not more: its lease ends, and it is attempted again
      .catch((error) => this.#options.logger.warn({ err: error }, 'could not write down what became of a webhook'))
      .finally(() => {
        this.#underWay.delete(attempt);
        this.#signal();
      });
    this.#underWay.set(attempt, { delivery, begun: performance.now() });
  }

  async #attempt(delivery: ClaimedDelivery): Promise<void> {
    const { engine, delays, metrics, logger } = this.#options;
    const at = new Date();
    const attempt = await this.#send(delivery, at);
    if (this.#stopping.signal.aborted && attempt.status === null) return await releaseDelivery(engine.pool, delivery);
    this.#widen(delivery, attempt);
    const step = nextStep(attempt, delivery.tries + 1, { delays, random: Math.random });
    await recordAttempt(engine.pool, delivery, { attempt, at, step });
    metrics.countWebhookAttempt(step.kind);
    if (step.kind === 'give_up') {
      const { tenantId, endpointId, type } = delivery;
      logger.info({ tenantId, endpointId, type, error: attempt.error }, 'gave up a webhook');
    }
  }

  async #send(delivery: ClaimedDelivery, at: Date): Promise<Attempt> {
    const { policy, resolve, timeoutMs } = this.#options;
    const { url, envelope, traceparent } = delivery;
    const secrets = this.#openSecrets(delivery);
    if (secrets instanceof SecretSealed) {
      return { status: null, error: secrets.message, retryAfter: undefined, answer: null, durationMs: 0 };
    }
    const { body, contentType } = renderEvent(delivery, envelope);
    const headers = {
      'content-type': contentType,
      'user-agent': 'Docket-Webhooks',
      ...signatureHeaders({ id: presentEventId(delivery.eventId), timestamp: at, body }, secrets),
      ...(traceparent === null ? {} : { traceparent }),
    };
    return await attemptDelivery({ url, headers, body }, { policy, resolve, timeoutMs }, this.#stopping.signal);
  }

  #openSecrets(delivery: ClaimedDelivery): string[] | SecretSealed {
    const { secrets, logger } = this.#options;
    try {
      return delivery.secrets.map((stored) => secrets.open(stored, delivery));
    } catch (error) {
      if (!(error instanceof SecretSealed)) throw error;
      const { tenantId, endpointId } = delivery;
      logger.warn({ tenantId, endpointId, err: error }, 'cannot sign a webhook; see DOCKET_SECRETS_KEY');
      return error;
    }
  }
}

function keyOf({ tenantId, lane }: ClaimedDelivery): string {
  return JSON.stringify([tenantId, lane]);
}
