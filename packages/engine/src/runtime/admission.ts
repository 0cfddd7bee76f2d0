import type { Limits } from '../domain/batch.ts';
import { checkTenantQueue, checkWholeQueue, type Incoming, isNearlyFull, type Queue } from '../domain/queue.ts';
import type { Database } from '../storage/database.ts';
import { lockQueues, readQueue } from '../storage/queue-store.ts';

/** How long what waits of all tenants together is taken to be as it was, in milliseconds. */
const wholeQueueMs = 1_000;

/** What a request saw of the queues when it was let in. */
export interface Seen {
  tenant: Queue;
  whole: Queue;
}

/**
 * Refuses what would make too much wait. Far from a bound, that costs one indexed look at the tenant's open jobs; near one, requests
 * come one by one, so that no bound is passed whatever arrives at once, in whichever process.
 */
export class Admission {
  readonly #limits: Limits;
  #whole: Queue = { jobs: 0, items: 0, itemsPerSecond: 0 };
  #wholeReadAt = Number.NEGATIVE_INFINITY;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** To be called before anything is written. Throws `batch_too_large`, `rate_limited`, `overloaded`. */
  async check(db: Database, tenantId: string, incoming: Incoming): Promise<Seen> {
    const limits = this.#limits;
    const now = performance.now();
    const isOld = now - this.#wholeReadAt > wholeQueueMs;
    const isFull = this.#whole.items + incoming.items > limits.queuedItems;
    // why once in a while: it is a look at the open jobs of all tenants, which may be many
    if (isOld) this.#wholeReadAt = now;
    const [tenant, whole] = await Promise.all([readQueue(db, tenantId), isOld || isFull ? readQueue(db) : undefined]);
    if (whole) this.#whole = whole;
    checkTenantQueue(tenant, incoming, limits);
    checkWholeQueue(this.#whole, incoming, limits);
    this.#whole = { ...this.#whole, items: this.#whole.items + incoming.items };
    return { tenant, whole: this.#whole };
  }

  /** To be called as the last thing before the commit of what was let in, when it is known how much it is. Throws like `check`. */
  async confirm(tx: Database, tenantId: string, incoming: Incoming, seen: Seen): Promise<void> {
    if (!isNearlyFull(seen.tenant, seen.whole, incoming, this.#limits)) return;
    const [, tenant, whole] = await Promise.all([lockQueues(tx, tenantId), readQueue(tx, tenantId), readQueue(tx)]);
    checkTenantQueue(tenant, incoming, this.#limits);
    checkWholeQueue(whole, incoming, this.#limits);
  }
}
