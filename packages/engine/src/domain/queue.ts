import type { Limits } from './batch.ts';
import { RequestError } from './codes.ts';

/** What waits to be applied: of one tenant, or of all. Items of an upload count as soon as they are stored. */
export interface Queue {
  jobs: number;
  items: number;
  /** How fast the jobs that run now are being applied; 0 where that is not known. */
  itemsPerSecond: number;
}

/** What is to wait too. An upload has counted itself when it asks again: then there is nothing more. */
export interface Incoming {
  jobs: 0 | 1;
  items: number;
}

/** Retry-After where it is not known how fast the queue gets shorter, in seconds. */
const unknownWait = 5;
const longestWait = 3600;

/** Throws `rate_limited` when a tenant would have too much waiting, `batch_too_large` when its batch never could wait. */
export function checkTenantQueue(queue: Queue, incoming: Incoming, limits: Limits): void {
  const { queuedJobsPerTenant, queuedItemsPerTenant } = limits;
  const most = Math.min(queuedItemsPerTenant, limits.queuedItems);
  if (incoming.items > most) {
    throw new RequestError(
      'batch_too_large',
      `The batch has ${incoming.items} items; ${most} may wait at most. Nothing was taken. Send it in parts, one after the other.`,
      { limit: most, actual: incoming.items },
    );
  }
  const jobs = queue.jobs + incoming.jobs;
  if (jobs > queuedJobsPerTenant) {
    throw new RequestError(
      'rate_limited',
      `${queue.jobs} jobs have not ended yet; ${queuedJobsPerTenant} may be open at a time. Nothing was taken. Send it again later, with more items in fewer jobs, or cancel some.`,
      { limit: queuedJobsPerTenant, actual: jobs, retryAfter: unknownWait },
    );
  }
  const items = queue.items + incoming.items;
  if (items <= queuedItemsPerTenant) return;
  throw new RequestError(
    'rate_limited',
    `${queue.items} items wait to be applied${and(incoming)}; ${queuedItemsPerTenant} may wait. Nothing was taken. Send it again later, or cancel jobs that are not needed.`,
    { limit: queuedItemsPerTenant, actual: items, retryAfter: waitFor(items - queuedItemsPerTenant, queue) },
  );
}

/** Throws `overloaded` when all tenants together would have too much waiting. */
export function checkWholeQueue(queue: Queue, incoming: Incoming, { queuedItems }: Limits): void {
  const items = queue.items + incoming.items;
  if (items <= queuedItems) return;
  throw new RequestError(
    'overloaded',
    `The server has ${queue.items} items waiting to be applied${and(incoming)}; ${queuedItems} may wait. Nothing was taken. Send it again later.`,
    { limit: queuedItems, actual: items, retryAfter: waitFor(items - queuedItems, queue) },
  );
}

function and({ items }: Incoming): string {
  return items > 0 ? `, and the batch has ${items} more` : '';
}

/** The time after which there is room, as far as that can be told. */
function waitFor(excess: number, { itemsPerSecond }: Queue): number {
  if (itemsPerSecond <= 0) return unknownWait;
  return Math.min(Math.max(1, Math.ceil(excess / itemsPerSecond)), longestWait);
}

/** So much may be on its way in from other requests without having been seen yet. */
const unseen = { jobs: 1_000, items: 1_000_000 };

/** Whether requests that do not see each other could together pass a bound: then they have to come one by one. */
export function isNearlyFull(tenant: Queue, whole: Queue, incoming: Incoming, limits: Limits): boolean {
  return (
    tenant.jobs + incoming.jobs + unseen.jobs > limits.queuedJobsPerTenant ||
    tenant.items + incoming.items + unseen.items > limits.queuedItemsPerTenant ||
    whole.items + incoming.items + unseen.items > limits.queuedItems
  );
}
