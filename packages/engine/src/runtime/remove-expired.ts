import { setTimeout as delay } from 'node:timers/promises';
import type { Database, Pool } from '../storage/database.ts';
import {
  removeExpiredChanges,
  removeExpiredItemKeys,
  removeExpiredJobs,
  removeExpiredKeys,
  removeExpiredUsage,
  takeExpiryLock,
} from '../storage/expiry-store.ts';
import type { Removed } from './engine.ts';

/** Removes what has outlived its time; see `Engine.removeExpired`. */
export async function removeExpired(
  { pool, changeTtlSeconds }: { pool: Pool; changeTtlSeconds: number },
  signal?: AbortSignal,
): Promise<Removed> {
  const removed: Removed = { jobs: 0, chunks: 0, idempotencyKeys: 0, itemKeys: 0, changes: 0, usage: 0 };
  const kinds: ((db: Database) => Promise<Partial<Removed>>)[] = [
    removeExpiredJobs,
    removeExpiredKeys,
    removeExpiredItemKeys,
    (db) => removeExpiredChanges(db, changeTtlSeconds),
    removeExpiredUsage,
  ];
  // why by turns: a kind of which there is much does not keep the others waiting
  for (let left = kinds; left.length > 0; ) {
    const more: typeof kinds = [];
    for (const remove of left) {
      if (signal?.aborted) return removed;
      const begun = performance.now();
      const step = await pool.transaction(async (tx) => ((await takeExpiryLock(tx)) ? await remove(tx) : undefined));
      if (!step) return removed;
      let rows = 0;
      for (const [kind, count] of Object.entries(step)) {
        removed[kind as keyof Removed] += count;
        rows += count;
      }
      if (rows === 0) continue;
      more.push(remove);
      // why: it rests as long as it has worked, so that the database serves others meanwhile
      await delay(performance.now() - begun, undefined, signal ? { signal } : {}).catch(() => undefined);
    }
    left = more;
  }
  return removed;
}
