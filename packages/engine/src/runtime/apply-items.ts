import type { BatchOperation, Item } from '../domain/batch.ts';
import type { RecordState, Rejection } from '../domain/collection.ts';
import { type Decision, decide, failed, type ItemResult, withholdAtomic } from '../domain/decide.ts';
import { fieldsRead } from '../domain/fields-read.ts';
import { insertChanges } from '../storage/change-store.ts';
import { readClock, type Transaction } from '../storage/database.ts';
import { failureKind } from '../storage/errors.ts';
import { claimItemKeys, readItemKeys, storeItemResults } from '../storage/key-store.ts';
import { raw } from '../storage/sql.ts';
import { constraintRejection } from './constraint-rejection.ts';
import type { MountedCollection } from './mounts.ts';

export interface ApplyParams {
  mount: MountedCollection;
  tenantId: string;
  jobUuid: string;
  actor: string;
  operation: BatchOperation;
  items: readonly Item[];
  firstIndex: number;
  dryRun: boolean;
  atomic: boolean;
  representation: boolean;
  failuresAllowed: number;
  /** Do not wait for records that somebody else has locked: their items are not processed, `deadline_exceeded`. */
  onlyAvailable: boolean;
  /** Find the items that break a constraint of the table one by one, instead of failing. */
  isolate: boolean;
  keyTtlSeconds: number;
}

interface Applied {
  results: ItemResult[];
  /** Settles with the last statements, which are only sent: the caller sends its own and COMMIT behind them. */
  written: Promise<unknown>;
}

/** What the decisions of this transaction stand on; grows as parts of the items are applied. */
interface State extends ApplyParams {
  records: Map<string, RecordState>;
  firstResults: Map<string, ItemResult>;
  held: ReadonlySet<string>;
  context: unknown;
  /** The database's time, once the records were locked: of two changes of a record the later one is never stamped earlier. */
  now: string;
}

const nothingWritten = Promise.resolve();

/**
 * Applies items within a transaction that the caller commits: locks the records, decides, writes them and their changes.
 * Fails with the database's error when an item breaks a constraint, unless `isolate` is set.
 */
export async function applyItems(tx: Transaction, given: ApplyParams): Promise<Applied> {
  const params = given.operation === 'create' ? { ...given, items: refuseImpossibleIds(given) } : given;
  const { mount, tenantId, items } = params;
  const keys = items.flatMap((item) => item.idempotencyKey ?? []);
  const firstResults = await takeItemKeys(tx, params, keys);
  const ids = [...new Set(items.map((item) => item.id))];
  const [records, context, now] = await Promise.all([
    readRecords(tx, params, ids),
    mount.loadContext(tx, tenantId),
    readClock(tx),
  ]);
  const held = params.onlyAvailable ? await idsHeldElsewhere(tx, params, ids, records) : new Set<string>();
  const state: State = { ...params, records, firstResults, held, context, now };
  const applied = params.isolate ? await applyIsolated(tx, state) : await applyTogether(tx, state);
  if (keys.length === 0 || params.dryRun) return applied;
  const fresh = new Map<string, ItemResult>();
  for (const [offset, result] of applied.results.entries()) {
    const key = items[offset]?.idempotencyKey;
    if (key !== undefined && result.status === 'succeeded' && !result.replayed) fresh.set(key, result);
  }
  return {
    results: applied.results,
    written: Promise.all([applied.written, storeItemResults(tx, { ...keyScope(params), results: fresh })]),
  };
}

async function takeItemKeys(tx: Transaction, params: ApplyParams, keys: string[]): Promise<Map<string, ItemResult>> {
  if (keys.length === 0) return new Map();
  return await (params.dryRun ? readItemKeys : claimItemKeys)(tx, { ...keyScope(params), keys });
}

/** A record cannot be created under an id that its column does not hold as it is given (`007` in an integer column). */
function refuseImpossibleIds({ mount: { collection, store }, items }: ApplyParams): readonly Item[] {
  const isDecidable = (item: Item) => item.verdict !== undefined || store.isPossibleId(item.id);
  if (items.every(isDecidable)) return items;
  const message = `The table cannot hold this ${collection.idField} as it is.`;
  const verdict: Rejection = { code: 'validation_failed', message, field: collection.idField };
  return items.map((item) => (isDecidable(item) ? item : { ...item, verdict }));
}

function keyScope({ mount, tenantId, jobUuid, keyTtlSeconds }: ApplyParams) {
  return { tenantId, collection: mount.collection.name, jobUuid, ttlSeconds: keyTtlSeconds };
}

function readRecords(tx: Transaction, params: ApplyParams, ids: string[]) {
  const { mount, tenantId, dryRun, onlyAvailable } = params;
  const fields = fieldsRead({ ...params, collection: mount.collection });
  if (dryRun) return mount.store.read(tx, tenantId, ids, fields);
  return onlyAvailable
    ? mount.store.lockAvailable(tx, tenantId, ids, fields)
    : mount.store.lock(tx, tenantId, ids, fields);
}

async function idsHeldElsewhere(
  tx: Transaction,
  { mount, tenantId, dryRun }: ApplyParams,
  ids: readonly string[],
  locked: ReadonlyMap<string, RecordState>,
): Promise<Set<string>> {
  const missing = ids.filter((id) => !locked.has(id));
  if (missing.length === 0 || dryRun) return new Set();
  return new Set((await mount.store.read(tx, tenantId, missing, new Set())).keys());
}

function decideRange(state: State, from: number, to: number, failuresAllowed: number): Decision {
  return decide({
    collection: state.mount.collection,
    operation: state.operation,
    items: from === 0 && to === state.items.length ? state.items : state.items.slice(from, to),
    firstIndex: state.firstIndex + from,
    records: state.records,
    context: state.context as never,
    now: state.now,
    representation: state.representation,
    preview: state.dryRun,
    failuresAllowed,
    firstResults: state.firstResults,
    held: state.held,
  });
}

async function applyTogether(tx: Transaction, state: State): Promise<Applied> {
  for (;;) {
    const decision = decideRange(state, 0, state.items.length, state.failuresAllowed);
    if (state.atomic && !allSucceeded(decision.results)) {
      return { results: withholdAtomic(decision.results, state.items), written: nothingWritten };
    }
    if (state.dryRun || decision.writes.size === 0) return { results: decision.results, written: nothingWritten };
    if (state.operation === 'update') return { results: decision.results, written: writeUpdates(tx, state, decision) };
    if (await writeCreations(tx, state, decision)) return { results: decision.results, written: nothingWritten };
  }
}

function allSucceeded(results: readonly ItemResult[]): boolean {
  return results.every((result) => result.status === 'succeeded');
}

async function writeUpdates(tx: Transaction, state: State, decision: Decision): Promise<void> {
  const records = [...decision.writes.values()];
  const changed = new Set<string>();
  for (const { after } of decision.changes) for (const name in after) changed.add(name);
  await Promise.all([
    state.mount.store.update(tx, state.tenantId, records, [...changed]),
    writeChanges(tx, state, decision),
  ]);
}

/** False when another transaction created one of the ids since they were read: nothing was written, and it is known now. */
async function writeCreations(tx: Transaction, state: State, decision: Decision): Promise<boolean> {
  const records = [...decision.writes.values()];
  const [, inserted] = await Promise.all([
    tx.query(raw('savepoint creations')),
    state.mount.store.insert(tx, state.tenantId, records),
  ]);
  const taken = records.filter((record) => !inserted.has(record.id));
  if (taken.length > 0) {
    await tx.query(raw('rollback to savepoint creations'));
    for (const record of taken) state.records.set(record.id, record);
    return false;
  }
  await writeChanges(tx, state, decision);
  return true;
}

async function writeChanges(tx: Transaction, state: State, { changes }: Decision): Promise<void> {
  const { tenantId, jobUuid, actor, now } = state;
  await insertChanges(tx, {
    tenantId,
    collection: state.mount.collection.name,
    jobUuid,
    actor,
    changedAt: now,
    changes,
  });
}

/**
 * The slow way, after a statement failed on the data: halves the items, with savepoints, until those that break a constraint
 * stand alone and fail by themselves. Deferred constraints are checked at once here, so that none is left for COMMIT.
 */
async function applyIsolated(tx: Transaction, state: State): Promise<Applied> {
  const results: ItemResult[] = [];
  let failures = 0;
  const applyRange = async (from: number, to: number): Promise<void> => {
    const decision = decideRange(state, from, to, state.failuresAllowed - failures);
    const rejection = state.dryRun || decision.writes.size === 0 ? undefined : await tryWrite(tx, state, decision);
    if (rejection === 'decide_again') return await applyRange(from, to);
    if (rejection && to - from > 1) {
      const middle = (from + to) >> 1;
      await applyRange(from, middle);
      return await applyRange(middle, to);
    }
    if (rejection) {
      failures += 1;
      results.push(failed(state.firstIndex + from, state.items[from] as Item, rejection));
      return;
    }
    for (const [id, record] of decision.writes) state.records.set(id, record);
    for (const [offset, result] of decision.results.entries()) {
      const key = state.items[from + offset]?.idempotencyKey;
      if (result.status === 'failed') failures += 1;
      if (result.status === 'succeeded' && key !== undefined) state.firstResults.set(key, result);
      results.push(result);
    }
  };
  await Promise.all([tx.query(raw('savepoint isolated')), tx.query(raw('set constraints all immediate'))]);
  await applyRange(0, state.items.length);
  if (state.atomic && !allSucceeded(results)) {
    await tx.query(raw('rollback to savepoint isolated'));
    return { results: withholdAtomic(results, state.items), written: nothingWritten };
  }
  return { results, written: nothingWritten };
}

async function tryWrite(
  tx: Transaction,
  state: State,
  decision: Decision,
): Promise<Rejection | 'decide_again' | undefined> {
  await tx.query(raw('savepoint part'));
  try {
    if (state.operation === 'update') await writeUpdates(tx, state, decision);
    else if (!(await writeCreations(tx, state, decision))) return 'decide_again';
    await tx.query(raw('release savepoint part'));
    return undefined;
  } catch (error) {
    if (failureKind(error) !== 'data') throw error;
    await tx.query(raw('rollback to savepoint part'));
    return constraintRejection(state.mount.collection, error);
  }
}
