import type { BatchOptions, Item, Limits } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import type { Submission } from './engine.ts';

/** How a batch is answered: with its results, or with a job, after waiting for it for some time. */
export type Route =
  | { kind: 'synchronous' }
  | {
      kind: 'job';
      waitMs: number;
      /** Whether results hold the resource, unless the caller says otherwise: they do when they stand in the answer. */
      representation: boolean;
    };

export const maxWaitSeconds = 60;

/**
 * Chooses by size and by what the caller asked for; options in the body go before RFC 7240 preferences. Throws
 * `batch_too_large` when the batch may not be answered as asked, `malformed_body` when the options contradict each other.
 */
export function planBatch(options: BatchOptions, prefer: Submission['prefer'], count: number, limits: Limits): Route {
  const { mode, waitForCompletion, atomic } = options;
  if (atomic) refuseAbove(count, limits.syncMaxItems, 'An atomic batch');
  if (mode === 'sync') {
    if (waitForCompletion === false) {
      throw new RequestError(
        'malformed_body',
        '`mode: "sync"` and `waitForCompletion: false` contradict each other. Leave one out.',
        {
          errors: [{ pointer: '/options/waitForCompletion', message: 'Contradicts `mode: "sync"`.' }],
        },
      );
    }
    refuseAbove(count, limits.syncMaxItems, 'A synchronous batch');
    return { kind: 'synchronous' };
  }
  const explicit = mode === 'async' || waitForCompletion === false;
  const preferred = mode === 'auto' && waitForCompletion === undefined && prefer?.respondAsync === true;
  const fits = count <= limits.syncAutoItems || atomic;
  if (fits && !explicit && !preferred) return { kind: 'synchronous' };
  const waitMs = waitForCompletion === false ? 0 : waitForCompletion ? maxWaitSeconds * 1000 : preferredWait(prefer);
  return { kind: 'job', waitMs, representation: waitMs > 0 && count <= limits.syncMaxItems };
}

function preferredWait(prefer: Submission['prefer']): number {
  return Math.min(prefer?.waitSeconds ?? 0, maxWaitSeconds) * 1000;
}

function refuseAbove(count: number, limit: number, what: string): void {
  if (count <= limit) return;
  throw new RequestError(
    'batch_too_large',
    `${what} may have ${limit} items; this one has ${count}. Send it in parts, or as a job.`,
    {
      limit,
      actual: count,
    },
  );
}

/** Whether an id stands in several items: then the chunks of a job must run in order. */
export function isRepeating(items: readonly Item[]): boolean {
  return new Set(items.map((item) => item.id)).size < items.length;
}
