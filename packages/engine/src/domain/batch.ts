import { type InputError, RequestError } from './codes.ts';
import type { Collection, Rejection } from './collection.ts';
import { isJsonObject, type Json, type JsonObject, pointerSegment, setMember } from './json.ts';

export type BatchOperation = 'update' | 'create';

/** One id and what to do with it. */
export interface Item {
  id: string;
  /** RFC 7396 merge patch of the record's fields; for a creation, its first values. */
  fields: JsonObject;
  /** The item is applied only if the record has this version. */
  version?: number;
  /** The caller's own name for the item, given back with its result. */
  ref?: string;
  idempotencyKey?: string;
  /** The item is applied only if these fields have these values (set by the engine where a table has no version). */
  expect?: JsonObject;
  /** `fields` are the values to have again, not a patch, and the lifecycle does not stand in the way (set by the engine to undo). */
  restore?: boolean;
  /** Decided beforehand: the item fails for this reason (set by the engine when a preview is applied). */
  verdict?: Rejection;
}

export interface BatchOptions {
  mode: 'auto' | 'sync' | 'async';
  waitForCompletion: boolean | undefined;
  returnJobId: boolean;
  dryRun: boolean;
  atomic: boolean;
  maxErrors: number | undefined;
  onDeadline: 'return' | 'continue';
  return: 'representation' | 'minimal' | undefined;
  priority: Priority;
  label: string | undefined;
  /** An http or https URL to tell the job's end to; kept with the job for the program around the engine, which is the one to call. */
  callbackUrl: string | undefined;
}

export const priorities = ['low', 'normal', 'high'] as const;
export type Priority = (typeof priorities)[number];

/** Bounds of one request; each is named in the error that enforces it and readable at `GET /limits`. */
export interface Limits {
  /** Items up to which `mode: auto` answers synchronously. */
  syncAutoItems: number;
  /** Items up to which a batch may be synchronous or atomic, and results stand in the answer. */
  syncMaxItems: number;
  /** Items in a JSON body. */
  bodyItems: number;
  /** Items in a streamed body. */
  streamItems: number;
  /** Bytes of one line or record of a streamed body; beyond, the stream cannot be read. */
  streamLineBytes: number;
  /** Bytes of one item as JSON. */
  itemBytes: number;
  /** Bytes of a JSON body. */
  bodyBytes: number;
  /** Characters of an id. */
  idLength: number;
  /** Characters of `ref`, `label` and keys. */
  textLength: number;
  /** Items of a tenant's jobs that wait to be applied, those of uploads included. */
  queuedItemsPerTenant: number;
  /** Jobs of a tenant that have not ended. */
  queuedJobsPerTenant: number;
  /** Items of all tenants that wait to be applied. */
  queuedItems: number;
  /** Streamed bodies that one process takes at the same time; each may need some 10 MiB. */
  uploads: number;
}

export const defaultLimits: Limits = {
  syncAutoItems: 200,
  syncMaxItems: 1_000,
  bodyItems: 10_000,
  streamItems: 5_000_000,
  streamLineBytes: 1024 * 1024,
  itemBytes: 65_536,
  bodyBytes: 16 * 1024 * 1024,
  idLength: 255,
  textLength: 255,
  queuedItemsPerTenant: 20_000_000,
  queuedJobsPerTenant: 10_000,
  queuedItems: 100_000_000,
  uploads: 50,
};

/** The records a batch is about: listed one by one, or selected by `where` at the moment it is submitted. */
export type BatchContent =
  | { kind: 'items'; items: Item[] }
  | { kind: 'selection'; where: JsonObject; fields: JsonObject; expectedCount: number | undefined };

export interface ParsedBatch {
  content: BatchContent;
  options: BatchOptions;
}

const defaultOptions: BatchOptions = {
  mode: 'auto',
  waitForCompletion: undefined,
  returnJobId: true,
  dryRun: false,
  atomic: false,
  maxErrors: undefined,
  onDeadline: 'return',
  return: undefined,
  priority: 'normal',
  label: undefined,
  callbackUrl: undefined,
};

const urlLength = 2_048;
/** What PostgreSQL's `integer` holds. */
const greatestInteger = 2_147_483_647;

type OptionRule = (value: Json, limits: Limits) => string | undefined;
const isBoolean: OptionRule = (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');
const isOneOf =
  (...allowed: string[]): OptionRule =>
  (value) =>
    typeof value === 'string' && allowed.includes(value)
      ? undefined
      : `must be one of ${allowed.map((one) => `"${one}"`).join(', ')}`;

const optionRules: Record<keyof BatchOptions, OptionRule> = {
  mode: isOneOf('auto', 'sync', 'async'),
  waitForCompletion: isBoolean,
  returnJobId: isBoolean,
  dryRun: isBoolean,
  atomic: isBoolean,
  maxErrors: (value) =>
    Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= greatestInteger
      ? undefined
      : `must be a whole number from 1 to ${greatestInteger}`,
  onDeadline: isOneOf('return', 'continue'),
  return: isOneOf('representation', 'minimal'),
  priority: isOneOf(...priorities),
  label: (value, limits) =>
    typeof value === 'string' && value.length > 0 && value.length <= limits.textLength
      ? undefined
      : `must be text of 1 to ${limits.textLength} characters`,
  callbackUrl: (value) =>
    typeof value === 'string' && value.length <= urlLength && URL.canParse(value) && /^https?:/i.test(value)
      ? undefined
      : `must be an http or https URL of at most ${urlLength} characters`,
};

/** Reads batch options. Throws `unknown_option` that names the first unknown one, `malformed_body` for a wrong value. */
export function parseOptions(input: Json | undefined, limits: Limits, pointer = '/options'): BatchOptions {
  if (input === undefined) return defaultOptions;
  if (!isJsonObject(input)) throw malformed([{ pointer, message: '`options` must be an object.' }]);
  const errors: InputError[] = [];
  for (const [name, value] of Object.entries(input)) {
    const rule = Object.hasOwn(optionRules, name) ? optionRules[name as keyof BatchOptions] : undefined;
    const at = pointer + pointerSegment(name);
    if (!rule) {
      const known = Object.keys(optionRules).join(', ');
      throw new RequestError('unknown_option', `There is no option "${name}". The options are: ${known}.`, {
        errors: [{ pointer: at, message: `Unknown option "${name}".` }],
      });
    }
    const problem = rule(value, limits);
    if (problem) errors.push({ pointer: at, message: `Option "${name}" ${problem}.` });
  }
  if (errors.length > 0) throw malformed(errors);
  return { ...defaultOptions, ...(input as Partial<BatchOptions>) };
}

export interface ParseBatchParams {
  collection: Collection<never>;
  operation: BatchOperation;
  /** The parsed JSON body. */
  body: Json;
  /** Bytes of the body as sent; an item cannot be larger than the whole. */
  bodyBytes: number;
  limits: Limits;
  /** Gives a new record its id when the caller left it out. */
  newId: () => string;
}

/**
 * Reads a bulk request in any of the accepted shapes: a bare array, `{updates}`, `{items}`, or `{where, fields}`; items flat
 * (`{caseId, status}`) or wrapped (`{id, fields}`).
 * Throws `malformed_body`, `batch_empty`, `batch_too_large` or `unknown_option`; what is wrong within one item's fields is no
 * request error but that item's result.
 */
export function parseBatch(params: ParseBatchParams): ParsedBatch {
  const { body, limits } = params;
  if (Array.isArray(body))
    return { content: { kind: 'items', items: parseItems(params, body, '') }, options: defaultOptions };
  if (!isJsonObject(body))
    throw malformed([{ pointer: '', message: 'The body must be an array of items or an object.' }]);
  const lists = ['items', 'updates', 'where'].filter((name) => Object.hasOwn(body, name));
  const [list, other] = lists;
  if (!list)
    throw malformed([{ pointer: '', message: 'The body needs `items`, `updates`, or `where` with `fields`.' }]);
  if (other)
    throw malformed([{ pointer: `/${other}`, message: `The body has both \`${list}\` and \`${other}\`; give one.` }]);
  const allowed = list === 'where' ? ['where', 'fields', 'expectedCount', 'options'] : [list, 'options'];
  const unknown = Object.keys(body).find((name) => !allowed.includes(name));
  if (unknown !== undefined) {
    throw malformed([
      {
        pointer: pointerSegment(unknown),
        message: `Unknown member "${unknown}"; allowed here: ${allowed.join(', ')}.`,
      },
    ]);
  }
  const options = parseOptions(body.options, limits);
  if (list === 'where') {
    refuseLargeItem(body.fields ?? null, '`fields`', '/fields', limits);
    return { content: parseSelection(params, body), options };
  }
  return { content: { kind: 'items', items: parseItems(params, body[list], `/${list}`) }, options };
}

function parseSelection({ operation }: ParseBatchParams, body: JsonObject): BatchContent {
  const { where, fields, expectedCount } = body;
  const errors: InputError[] = [];
  if (operation === 'create')
    errors.push({ pointer: '/where', message: 'New records cannot be selected; give `items`.' });
  if (!isJsonObject(where)) errors.push({ pointer: '/where', message: '`where` must be an object of filters.' });
  if (!isJsonObject(fields))
    errors.push({ pointer: '/fields', message: '`fields` must be an object of the fields to change.' });
  if (expectedCount !== undefined && !(Number.isSafeInteger(expectedCount) && (expectedCount as number) >= 0)) {
    errors.push({ pointer: '/expectedCount', message: '`expectedCount` must be a whole number from 0.' });
  }
  if (errors.length > 0) throw malformed(errors);
  return {
    kind: 'selection',
    where: where as JsonObject,
    fields: fields as JsonObject,
    expectedCount: expectedCount as number | undefined,
  };
}

const shownErrors = 20;

function parseItems(params: ParseBatchParams, list: Json | undefined, pointer: string): Item[] {
  const { limits } = params;
  if (!Array.isArray(list)) throw malformed([{ pointer, message: 'Must be an array of items.' }]);
  if (list.length === 0) {
    throw new RequestError('batch_empty', 'The batch has no items; there is nothing to do. Send at least one item.', {
      errors: [{ pointer, message: 'Must have at least one item.' }],
    });
  }
  if (list.length > limits.bodyItems) {
    throw new RequestError(
      'batch_too_large',
      `The batch has ${list.length} items; a JSON body may have ${limits.bodyItems}. Send it in parts.`,
      { limit: limits.bodyItems, actual: list.length },
    );
  }
  const errors: InputError[] = [];
  const items: Item[] = [];
  for (let index = 0; index < list.length; index++) {
    const at = `${pointer}/${index}`;
    const value = list[index] as Json;
    if (params.bodyBytes > limits.itemBytes) refuseLargeItem(value, `Item ${index}`, at, limits);
    const item = parseItem(params, value, at, errors);
    if (item) items.push(item);
    if (errors.length >= shownErrors) break;
  }
  if (errors.length > 0) throw malformed(errors);
  return items;
}

function refuseLargeItem(value: Json, what: string, pointer: string, limits: Limits): void {
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes <= limits.itemBytes) return;
  throw new RequestError('batch_too_large', `${what} is ${bytes} bytes; an item may be ${limits.itemBytes}.`, {
    limit: limits.itemBytes,
    actual: bytes,
    errors: [{ pointer, message: `Must be at most ${limits.itemBytes} bytes as JSON.` }],
  });
}

/** What an item is read against. */
export type ItemRules = Pick<ParseBatchParams, 'collection' | 'operation' | 'limits' | 'newId'>;

/** A line of a stream that holds no item: it fails alone, and the others go on. */
export interface BrokenItem {
  /** Counted from 1. */
  line: number;
  /** The place in the line, counted from 1, or the name of the column. */
  column?: number | string | undefined;
  message: string;
  id?: string | undefined;
  ref?: string | undefined;
}

export type StreamedItem = Item | BrokenItem;

/** Reads one item of a stream, flat or wrapped; what is wrong with its shape is its own failure. */
export function parseStreamedItem(rules: ItemRules, value: Json, line: number): StreamedItem {
  const errors: InputError[] = [];
  const item = parseItem(rules, value, '', errors);
  if (item) return item;
  const { id, ref } = brokenNames(rules, value);
  return { line, message: errors.map(({ message }) => message).join(' '), id, ref };
}

function brokenNames({ collection, limits }: ItemRules, value: Json): { id?: string; ref?: string } {
  if (!isJsonObject(value)) return {};
  const id = value[collection.idField] ?? value.id;
  const { ref } = value;
  return {
    ...(typeof id === 'string' && id.length <= limits.idLength ? { id } : {}),
    ...(typeof ref === 'string' && ref.length <= limits.textLength ? { ref } : {}),
  };
}

/** The item that a broken line is: it names no record, or nothing happens to the one it names, and it fails as `validation_failed`. */
export function failedItem({ line, column, message, id, ref }: BrokenItem): Item {
  const place = column === undefined ? `Line ${line}` : `Line ${line}, column ${JSON.stringify(column)}`;
  const field = typeof column === 'string' ? column : null;
  const item: Item = {
    id: id ?? '',
    fields: {},
    verdict: { code: 'validation_failed', message: `${place}: ${message}`, field },
  };
  if (ref !== undefined) item.ref = ref;
  return item;
}

const wrappedMembers: readonly string[] = ['id', 'fields', 'version', 'ref', 'idempotencyKey'];

function parseItem(params: ItemRules, value: Json, pointer: string, errors: InputError[]): Item | undefined {
  const { collection, operation, limits } = params;
  if (!isJsonObject(value)) {
    errors.push({ pointer, message: 'An item must be an object.' });
    return undefined;
  }
  const before = errors.length;
  const { idField } = collection;
  const idName = Object.hasOwn(value, idField) ? idField : 'id';
  let fields: JsonObject = {};
  if (Object.hasOwn(value, 'fields')) {
    if (isJsonObject(value.fields)) fields = value.fields;
    else errors.push({ pointer: `${pointer}/fields`, message: '`fields` must be an object.' });
    if (value.id !== undefined && value[idName] !== value.id) {
      errors.push({ pointer: `${pointer}/id`, message: `\`id\` and \`${idField}\` differ; give one.` });
    }
    for (const name of Object.keys(value)) {
      if (wrappedMembers.includes(name) || name === idField) continue;
      errors.push({ pointer: pointer + pointerSegment(name), message: `Unknown member "${name}" beside \`fields\`.` });
    }
  } else {
    for (const name in value) {
      if (name !== idName && name !== 'version' && name !== 'ref' && name !== 'idempotencyKey')
        setMember(fields, name, value[name] as Json);
    }
  }
  const id = value[idName];
  if (id === undefined && operation === 'create') {
    // an id of our own making
  } else if (typeof id !== 'string' || id.length === 0 || id.length > limits.idLength) {
    const shown = id === undefined ? `needs \`${idField}\` (or \`id\`)` : `has a \`${idName}\` that is not`;
    const rule = `text of 1 to ${limits.idLength} characters`;
    errors.push({
      pointer: id === undefined ? pointer : `${pointer}/${idName}`,
      message: `The item ${shown}${id === undefined ? ',' : ''} ${rule}.`,
    });
  }
  const { version, ref, idempotencyKey } = value;
  if (version !== undefined) {
    if (operation === 'create')
      errors.push({ pointer: `${pointer}/version`, message: 'A new record has no version to check.' });
    else if (!Number.isSafeInteger(version) || (version as number) < 0) {
      errors.push({ pointer: `${pointer}/version`, message: '`version` must be a whole number.' });
    }
  }
  checkText(ref, 'ref', pointer, limits, errors);
  checkText(idempotencyKey, 'idempotencyKey', pointer, limits, errors);
  if (errors.length > before) return undefined;
  const item: Item = { id: id === undefined ? params.newId() : (id as string), fields };
  if (version !== undefined) item.version = version as number;
  if (ref !== undefined) item.ref = ref as string;
  if (idempotencyKey !== undefined) item.idempotencyKey = idempotencyKey as string;
  return item;
}

function checkText(value: Json | undefined, name: string, pointer: string, limits: Limits, errors: InputError[]): void {
  if (value === undefined || (typeof value === 'string' && value.length > 0 && value.length <= limits.textLength))
    return;
  errors.push({
    pointer: `${pointer}/${name}`,
    message: `\`${name}\` must be text of 1 to ${limits.textLength} characters.`,
  });
}

function malformed(errors: InputError[]): RequestError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  const at = first?.pointer ? ` at ${first.pointer}` : '';
  return new RequestError('malformed_body', `The body is not a batch${at}: ${first?.message ?? ''}${more}`, { errors });
}
