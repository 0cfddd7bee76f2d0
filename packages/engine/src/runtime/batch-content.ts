import type { Item, Limits } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import { chunkItems, insertChunk } from '../storage/chunk-store.ts';
import type { Pool, Transaction } from '../storage/database.ts';
import type { Submission } from './engine.ts';
import type { MountedCollection } from './mounts.ts';

/** Items of a selection that is small enough to be answered at once; a larger one is read when its job is made. */
export async function resolveContent(
  { pool, limits }: { pool: Pool; limits: Limits },
  { store }: MountedCollection,
  { tenantId, content, options }: Submission,
): Promise<{ items: Item[] | undefined; count: number }> {
  if (content.kind === 'items') return { items: content.items, count: content.items.length };
  const { where, fields, expectedCount } = content;
  const ids = await store.selectIds(pool, tenantId, where, limits.syncMaxItems + 1);
  if (ids.length > limits.syncMaxItems) {
    // why: how many there are matters only to the refusal; the job counts them in the moment that it takes
    const refused = options.mode === 'sync' || options.atomic;
    return { items: undefined, count: refused ? await store.count(pool, tenantId, where) : ids.length };
  }
  if (expectedCount !== undefined) checkCount(expectedCount, ids.length);
  return { items: ids.map((id) => ({ id, fields })), count: ids.length };
}

function checkCount(expected: number, actual: number): void {
  if (expected === actual) return;
  throw new RequestError(
    'expected_count_mismatch',
    `The selection holds ${actual} records, not ${expected} as expected. Nothing was changed. Look at the selection again.`,
    { extra: { expected }, actual },
  );
}

interface Taken {
  total: number;
  /** Some of the items, from the first on. */
  first: readonly Item[];
}

/** Puts items into chunks that wait to be applied. */
export async function insertItemChunks(
  tx: Transaction,
  params: { tenantId: string; jobUuid: string; items: readonly Item[]; perChunk: number },
): Promise<Taken> {
  const { items, perChunk, ...job } = params;
  const inserts: Promise<void>[] = [];
  for (let firstIndex = 0; firstIndex < items.length; firstIndex += perChunk) {
    const part = items.slice(firstIndex, firstIndex + perChunk);
    inserts.push(insertChunk(tx, { ...job, chunkNo: firstIndex / perChunk, firstIndex, items: part }));
  }
  await Promise.all(inserts);
  return { total: items.length, first: items };
}

/** Takes the ids of a selection as they are in one snapshot. */
export async function insertSelectionChunks(
  tx: Transaction,
  { store }: MountedCollection,
  { tenantId, content }: Submission,
  jobUuid: string,
): Promise<Taken> {
  if (content.kind !== 'selection') throw new TypeError('The submission has no selection.');
  const { where, fields, expectedCount } = content;
  if (expectedCount !== undefined) checkCount(expectedCount, await store.count(tx, tenantId, where));
  const selection = store.openSelection(tx, tenantId, where);
  let total = 0;
  let storing: Promise<void> = Promise.resolve();
  let first: Item[] = [];
  let ids = await selection.next(chunkItems);
  for (let chunkNo = 0; ids.length > 0; chunkNo++) {
    const items = ids.map((id) => ({ id, fields }));
    if (chunkNo === 0) first = items;
    await storing;
    // why together: the next ids are read while the chunk is stored
    storing = insertChunk(tx, { tenantId, jobUuid, chunkNo, firstIndex: total, items });
    storing.catch(() => undefined);
    total += ids.length;
    ids = await selection.next(chunkItems);
  }
  await storing;
  return { total, first };
}
