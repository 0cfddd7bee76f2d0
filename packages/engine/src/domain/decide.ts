import type { BatchOperation, Item } from './batch.ts';
import { isRetryable } from './codes.ts';
import { type Collection, type Field, presentRecord, type RecordState, type Rejection } from './collection.ts';
import { type Json, type JsonObject, jsonEqual } from './json.ts';
import { mergePatch } from './merge-patch.ts';

/** What became of one item. `index` is its place in the request, counted from 0. */
export interface ItemResult {
  index: number;
  id: string;
  ref?: string;
  status: 'succeeded' | 'failed' | 'not_processed';
  /** False when the record already was as asked: nothing was written and the version stayed. */
  changed?: boolean;
  version?: number;
  resource?: JsonObject;
  /** In a preview: the changed fields before and after; of a record without a version also those that would stay. */
  before?: JsonObject | null;
  after?: JsonObject;
  /** True when the item's own key had been applied earlier: this is that first result. */
  replayed?: boolean;
  retryable?: boolean;
  error?: Rejection;
}

/** The recorded effect of one item on one record. `before` is null when the record was created. */
export interface Change {
  id: string;
  version: number | null;
  index: number;
  before: JsonObject | null;
  after: JsonObject;
}

export interface DecideParams<Context> {
  collection: Collection<Context>;
  operation: BatchOperation;
  items: readonly Item[];
  /** Place of the first of these items in its batch. */
  firstIndex: number;
  /** The records these items name, as they are now, locked; an id that is missing here does not exist. */
  records: ReadonlyMap<string, RecordState>;
  context: Context;
  /** The database's time, RFC 3339. */
  now: string;
  /** Put the resource into the results. */
  representation: boolean;
  /** Put the changed fields before and after into the results. */
  preview: boolean;
  /** After this many failures the remaining items are not processed. */
  failuresAllowed: number;
  /** First results of items' own keys that were applied before; such an item is not applied again. */
  firstResults: ReadonlyMap<string, ItemResult>;
  /** Ids whose records another transaction held until the time for this batch had passed. */
  held: ReadonlySet<string>;
}

export interface Decision {
  /** One for each item, in the order of the items. */
  results: ItemResult[];
  /** In request order; several for a record that several items change. */
  changes: Change[];
  /** Final state of each record that changes. */
  writes: Map<string, RecordState>;
}

/**
 * Decides what each item does, in request order, each item seeing the effect of those before it. Pure: the same input gives
 * the same decision, and nothing that was passed in is changed.
 */
export function decide<Context>(params: DecideParams<Context>): Decision {
  const results: ItemResult[] = [];
  const changes: Change[] = [];
  const writes = new Map<string, RecordState>();
  const firstResults = new Map(params.firstResults);
  let failures = 0;
  let index = params.firstIndex - 1;
  for (const item of params.items) {
    index += 1;
    const key = item.idempotencyKey;
    const first = key === undefined ? undefined : firstResults.get(key);
    if (first) {
      results.push(replay(index, item, first));
      continue;
    }
    if (failures >= params.failuresAllowed) {
      results.push(notProcessed(index, item, stoppedByMaxErrors));
      continue;
    }
    if (params.held.has(item.id)) {
      results.push(notProcessed(index, item, heldElsewhere));
      continue;
    }
    const current = writes.get(item.id) ?? params.records.get(item.id);
    const outcome = decideItem(params, item, current);
    if ('code' in outcome) {
      failures += 1;
      results.push(failed(index, item, outcome));
      continue;
    }
    const { state, changed } = outcome;
    const result: ItemResult = { index, id: item.id, status: 'succeeded', changed: changed.length > 0 };
    if (item.ref !== undefined) result.ref = item.ref;
    if (state.version !== null) result.version = state.version;
    if (changed.length > 0) {
      const change = changeOf(index, current, state, changed);
      changes.push(change);
      writes.set(item.id, state);
      if (params.preview) {
        result.before = change.before;
        result.after = change.after;
      }
    } else if (params.preview && state.version === null) {
      // why: without a version, only the values can tell whether the record changed before the preview is applied
      result.before = pickFields(state, Object.keys(item.fields));
      result.after = result.before;
    }
    if (params.representation) result.resource = presentRecord(params.collection, state);
    if (key !== undefined) firstResults.set(key, result);
    results.push(result);
  }
  return { results, changes, writes };
}

function replay(index: number, item: Item, first: ItemResult): ItemResult {
  const { ref: _, ...result } = first;
  return { ...result, ...head(index, item), id: first.id, replayed: true };
}

const stoppedByMaxErrors: Rejection = {
  code: 'stopped',
  message: 'Not processed: the batch stopped after as many failures as `maxErrors` allows.',
  field: null,
};

const heldElsewhere: Rejection = {
  code: 'deadline_exceeded',
  message: 'Not processed: another transaction held the record until the time for this batch had passed.',
  field: null,
};

const stoppedByAtomic: Rejection = {
  code: 'stopped',
  message: 'Not applied: the batch is atomic and another of its items failed.',
  field: null,
};

const jobCancelled: Rejection = {
  code: 'cancelled',
  message: 'Not processed: the job was cancelled before this item was reached.',
  field: null,
};

/** The results of items that a cancelled job did not reach. */
export function cancelledResults(firstIndex: number, items: readonly Item[]): ItemResult[] {
  return items.map((item, offset) => notProcessed(firstIndex + offset, item, jobCancelled));
}

/** The results of an atomic batch in which an item failed: what would have succeeded was not applied. */
export function withholdAtomic(results: readonly ItemResult[], items: readonly Item[]): ItemResult[] {
  return results.map((result, offset) =>
    result.status === 'succeeded' ? notProcessed(result.index, items[offset] as Item, stoppedByAtomic) : result,
  );
}

export function failed(index: number, item: Item, rejection: Rejection): ItemResult {
  return { ...head(index, item), status: 'failed', retryable: isRetryable(rejection.code), error: rejection };
}

export function notProcessed(index: number, item: Item, rejection: Rejection): ItemResult {
  return { ...head(index, item), status: 'not_processed', retryable: true, error: rejection };
}

function head(index: number, item: Item): { index: number; id: string; ref?: string } {
  return item.ref === undefined ? { index, id: item.id } : { index, id: item.id, ref: item.ref };
}

function changeOf(
  index: number,
  before: RecordState | undefined,
  after: RecordState,
  changed: readonly string[],
): Change {
  return {
    id: after.id,
    version: after.version,
    index,
    before: before ? pickFields(before, changed) : null,
    after: pickFields(after, changed),
  };
}

function pickFields({ fields }: RecordState, names: readonly string[]): JsonObject {
  const picked: JsonObject = {};
  for (const name of names) picked[name] = fields[name] ?? null;
  return picked;
}

interface Accepted {
  state: RecordState;
  changed: readonly string[];
}

function decideItem<Context>(
  params: DecideParams<Context>,
  item: Item,
  current: RecordState | undefined,
): Accepted | Rejection {
  if (item.verdict) return item.verdict;
  const accepted =
    params.operation === 'create' ? decideCreation(params, item, current) : decideUpdate(params, item, current);
  if ('code' in accepted || accepted.changed.length === 0) return accepted;
  const input = { before: current ?? null, after: accepted.state, changed: accepted.changed, context: params.context };
  return params.collection.check(input) ?? accepted;
}

function decideUpdate<Context>(
  { collection, context, now }: DecideParams<Context>,
  item: Item,
  current: RecordState | undefined,
): Accepted | Rejection {
  if (!current) {
    return reject('not_found', `There is no record with ${collection.idField} ${JSON.stringify(item.id)}.`);
  }
  const conflict = checkExpectations(item, current);
  if (conflict) return conflict;
  const fields: JsonObject = { ...current.fields };
  const changed: string[] = [];
  for (const name in item.fields) {
    const field = collection.fields.get(name);
    if (!field) return unknownField(collection, name);
    const before = current.fields[name] ?? null;
    const asked = item.fields[name] as Json;
    const after = item.restore ? asked : mergePatch(before, asked);
    if (jsonEqual(before, after)) continue;
    if (field.createOnly && !item.restore)
      return reject('validation_failed', `${name} cannot be changed after creation.`, name);
    const problem = checkValue(field, after);
    if (problem) return problem;
    fields[name] = after;
    changed.push(name);
  }
  if (changed.length === 0) return { state: current, changed };
  const { lifecycleField } = collection;
  if (lifecycleField && !item.restore && changed.includes(lifecycleField)) {
    const rejection = checkTransition(collection, context, current.fields, fields, lifecycleField);
    if (rejection) return rejection;
  }
  const version = current.version === null ? null : current.version + 1;
  return { state: { ...current, fields, version, updatedAt: now }, changed };
}

function decideCreation<Context>(
  { collection, context, now }: DecideParams<Context>,
  item: Item,
  current: RecordState | undefined,
): Accepted | Rejection {
  if (current)
    return reject('already_exists', `A record with ${collection.idField} ${JSON.stringify(item.id)} exists already.`);
  const fields: JsonObject = {};
  for (const name in item.fields) {
    if (!collection.fields.has(name)) return unknownField(collection, name);
  }
  const { lifecycleField } = collection;
  for (const field of collection.fields.values()) {
    const given = item.fields[field.name];
    fields[field.name] = (given === undefined ? field.default : mergePatch(null, given)) ?? null;
    const problem = field.name === lifecycleField ? undefined : checkValue(field, fields[field.name] as Json);
    if (problem) return problem;
  }
  if (lifecycleField) {
    // why last: which lifecycle it is may depend on any of the other fields
    if (item.fields[lifecycleField] === undefined)
      fields[lifecycleField] ??= collection.lifecycleOf(fields, context)?.initial ?? null;
    const problem = checkValue(collection.fields.get(lifecycleField) as Field, fields[lifecycleField] as Json);
    if (problem) return problem;
    const rejection = checkStatus(
      collection.lifecycleOf(fields, context)?.statuses,
      fields[lifecycleField],
      lifecycleField,
    );
    if (rejection) return rejection;
  }
  const version = collection.table.version ? 1 : null;
  return { state: { id: item.id, version, fields, createdAt: now, updatedAt: now }, changed: Object.keys(fields) };
}

function checkValue(field: Field, value: Json): Rejection | undefined {
  const problem = field.validate(value);
  return problem && reject('validation_failed', `${field.name}${problem.pointer} ${problem.message}.`, field.name);
}

function checkExpectations(item: Item, current: RecordState): Rejection | undefined {
  if (item.version !== undefined) {
    if (current.version === null) {
      return reject('validation_failed', 'Records of this collection have no version to check.', 'version');
    }
    if (item.version !== current.version) {
      const message = `The record has version ${current.version}, not ${item.version}: it was changed in between. Read it again.`;
      return reject('version_conflict', message, 'version');
    }
  }
  for (const name in item.expect) {
    if (!jsonEqual(current.fields[name] ?? null, item.expect[name])) {
      return reject('version_conflict', `${name} was changed in between. Read the record again.`, name);
    }
  }
  return undefined;
}

function checkTransition<Context>(
  collection: Collection<Context>,
  context: Context,
  before: JsonObject,
  after: JsonObject,
  field: string,
): Rejection | undefined {
  const lifecycle = collection.lifecycleOf(after, context);
  if (!lifecycle) return undefined;
  const from = before[field] as string;
  const to = after[field] as string;
  const unknown = checkStatus(lifecycle.statuses, to, field);
  if (unknown) return unknown;
  const targets = Object.hasOwn(lifecycle.transitions, from) ? (lifecycle.transitions[from] ?? []) : [];
  if (targets.includes(to)) return undefined;
  const allowed = targets.length > 0 ? `From here it may go to: ${targets.join(', ')}.` : `${from} is final.`;
  return reject('invalid_transition', `${field} cannot go from "${from}" to "${to}". ${allowed}`, field);
}

function checkStatus(
  statuses: readonly string[] | undefined,
  status: Json | undefined,
  field: string,
): Rejection | undefined {
  if (!statuses || statuses.includes(status as string)) return undefined;
  const message = `${field} ${JSON.stringify(status)} is not known here. The statuses are: ${statuses.join(', ')}.`;
  return reject('validation_failed', message, field);
}

function unknownField(collection: Collection<never>, name: string): Rejection {
  const known = [...collection.fields.keys()].join(', ');
  return reject('unknown_field', `There is no field "${name}" to write. The fields are: ${known}.`, name);
}

function reject(code: Rejection['code'], message: string, field: string | null = null): Rejection {
  return { code, message, field };
}
