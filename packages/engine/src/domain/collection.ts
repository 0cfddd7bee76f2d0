import type { TObject, TProperties, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import type { ItemCode } from './codes.ts';
import type { Json, JsonObject } from './json.ts';
import { type Lifecycle, lifecycleProblems } from './lifecycle.ts';

/** Where a collection's records live. The table stays its owner's: it is read, checked and updated, never altered. */
export interface TableMapping {
  /** Schema-qualified name, `public.orders`; without a schema, `public` is meant. */
  name: string;
  /** The column that identifies a record within its tenant; text, uuid or integer, unique (with the tenant column). */
  id: string;
  /** The column that holds the tenant. A table without one belongs to the one tenant named in `onlyTenant`. */
  tenant?: string;
  onlyTenant?: string;
  /** An integer column that rises by one with each change; needed for version checks, ETags and undo by version. */
  version?: string;
  createdAt?: string;
  updatedAt?: string;
}

/** The part of a record that decisions see: its public fields by name. `version` is null where the table has none. */
export interface RecordState {
  id: string;
  version: number | null;
  fields: JsonObject;
  createdAt: string | null;
  updatedAt: string | null;
}

/** Why an item is not applied. `field` is the name of the field, where one is at fault. */
export interface Rejection {
  code: ItemCode;
  message: string;
  field: string | null;
}

/** What a collection's own `check` sees of one item, after merge, validation and lifecycle have passed. */
export interface CheckInput<Context> {
  before: RecordState | null;
  after: RecordState;
  /** Names of the fields whose value changes. */
  changed: readonly string[];
  context: Context;
}

/** How a list parameter or a member of `where` selects records. */
export type Filter =
  | { op: 'equals'; field: string }
  | { op: 'atLeast'; field: 'createdAt' | 'updatedAt' }
  | { op: 'contains'; fields: readonly string[] };

export interface CollectionInput<Fields extends TProperties, Context> {
  /** Plural, lower case: `cases`. Also the URL segment, unless `path` says otherwise. */
  name: string;
  path?: string;
  /** The public name of the id: `caseId`. */
  idField: string;
  table: TableMapping;
  /** The updatable fields. An optional field may be null; a required one may not. */
  fields: TObject<Fields>;
  /** Column of a field, where it is not the field's name in snake_case. */
  columns?: Partial<Record<keyof Fields & string, string>>;
  /** Fields that are given when a record is created and never change. */
  createOnly?: readonly (keyof Fields & string)[];
  /** Values of fields that a new record leaves out. */
  defaults?: Partial<Record<keyof Fields & string, Json>>;
  /** The statuses a record goes through: one lifecycle, or one chosen for each record (undefined: nothing is checked). */
  lifecycle?: {
    field: keyof Fields & string;
    of: Lifecycle | ((fields: JsonObject, context: Context) => Lifecycle | undefined);
  };
  /** A rule of the collection's own. Returns undefined to let the item pass. Must be pure. */
  check?: (input: CheckInput<Context>) => Rejection | undefined;
  /**
   * The fields that `lifecycle.of` and `check` look at, beside those that an item names. An update then reads no others: they are missing
   * from `before` and `after`, and times are null there. Default: all, where one of the two is a function.
   */
  rulesRead?: readonly (keyof Fields & string)[];
  /** Allowed list parameters and members of `where`. */
  filters?: Readonly<Record<string, Filter>>;
  /** Fields a list may be sorted by, beside the id, `createdAt` and `updatedAt`. */
  sortable?: readonly (keyof Fields & string)[];
}

export interface Field {
  name: string;
  column: string;
  schema: TSchema;
  nullable: boolean;
  createOnly: boolean;
  default: Json | undefined;
  /** Says what is wrong with a value and where inside it, or undefined. */
  validate(value: Json): { pointer: string; message: string } | undefined;
}

export interface Collection<Context = unknown> {
  readonly name: string;
  readonly path: string;
  readonly idField: string;
  readonly table: Readonly<TableMapping>;
  readonly fields: ReadonlyMap<string, Field>;
  readonly schema: TObject;
  readonly filters: Readonly<Record<string, Filter>>;
  readonly sortable: readonly string[];
  readonly lifecycleField: string | undefined;
  /** What the rules look at; undefined: all. */
  readonly rulesRead: readonly string[] | undefined;
  lifecycleOf(fields: JsonObject, context: Context): Lifecycle | undefined;
  check(input: CheckInput<Context>): Rejection | undefined;
}

/** Members of an item that are not fields; no field may take one of these names. */
export const reservedNames: readonly string[] = [
  'id',
  'fields',
  'version',
  'ref',
  'idempotencyKey',
  'createdAt',
  'updatedAt',
];

/**
 * Describes a table's records to the engine, once: names, fields, lifecycle and rules. Throws at once, naming every problem,
 * when the definition contradicts itself; the table itself is checked against it when the engine starts.
 */
export function defineCollection<Fields extends TProperties, Context = unknown>(
  input: CollectionInput<Fields, Context>,
): Collection<Context> {
  const problems = definitionProblems(input as unknown as CollectionInput<TProperties, Context>);
  if (problems.length > 0)
    throw new TypeError(`The collection "${input.name}" is not well defined:\n- ${problems.join('\n- ')}`);
  const fields = new Map<string, Field>();
  const required = new Set((input.fields.required ?? []) as readonly string[]);
  for (const [name, schema] of Object.entries(input.fields.properties)) {
    fields.set(name, {
      name,
      column: input.columns?.[name] ?? snakeCase(name),
      schema,
      nullable: !required.has(name),
      createOnly: input.createOnly?.includes(name) ?? false,
      default: input.defaults?.[name],
      validate: compileValidation(schema, required.has(name)),
    });
  }
  const lifecycle = input.lifecycle?.of;
  return {
    name: input.name,
    path: input.path ?? input.name,
    idField: input.idField,
    table: input.table,
    fields,
    schema: input.fields,
    filters: input.filters ?? {},
    sortable: [input.idField, ...timestampsOf(input.table), ...(input.sortable ?? [])],
    lifecycleField: input.lifecycle?.field,
    rulesRead: input.rulesRead ?? (typeof lifecycle === 'function' || input.check ? undefined : []),
    lifecycleOf: typeof lifecycle === 'function' ? lifecycle : () => lifecycle,
    check: input.check ?? (() => undefined),
  };
}

/** A record as clients see it. */
export function presentRecord(collection: Collection<never>, record: RecordState): JsonObject {
  const resource: JsonObject = { [collection.idField]: record.id };
  for (const name of collection.fields.keys()) resource[name] = record.fields[name] ?? null;
  if (collection.table.version) resource.version = record.version;
  if (collection.table.createdAt) resource.createdAt = record.createdAt;
  if (collection.table.updatedAt) resource.updatedAt = record.updatedAt;
  return resource;
}

function timestampsOf(table: TableMapping): string[] {
  return [...(table.createdAt ? ['createdAt'] : []), ...(table.updatedAt ? ['updatedAt'] : [])];
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function compileValidation(schema: TSchema, required: boolean): Field['validate'] {
  const validator = Compile(schema);
  return (value) => {
    if (value === null && !required) return undefined;
    if (validator.Check(value)) return undefined;
    if (value === null) return { pointer: '', message: 'is required and cannot be null' };
    // why: a union reports each branch before itself; the last error is the one about the whole value
    const error = validator.Errors(value).at(-1);
    const allowed = (error?.params as { allowedValues?: unknown[] } | undefined)?.allowedValues;
    const message = allowed ? `must be one of ${allowed.map((one) => JSON.stringify(one)).join(', ')}` : error?.message;
    return { pointer: error?.instancePath ?? '', message: message ?? 'is not valid' };
  };
}

function definitionProblems<Context>(input: CollectionInput<TProperties, Context>): string[] {
  const problems: string[] = [];
  const names = Object.keys(input.fields.properties);
  const mustBeField = (name: string, where: string) => {
    if (!names.includes(name)) problems.push(`\`${where}\` names the field "${name}", which is not in \`fields\`.`);
  };
  if (!/^[a-z][a-z0-9_-]*$/.test(input.name)) problems.push('`name` must be lower case letters, digits, - and _.');
  if (names.length === 0) problems.push('`fields` is empty.');
  for (const name of names) {
    if (reservedNames.includes(name) || name === input.idField) problems.push(`The field name "${name}" is reserved.`);
  }
  if (!input.table.tenant && !input.table.onlyTenant) {
    problems.push(
      '`table` needs `tenant` (a column), or `onlyTenant` (the one tenant that a table without such a column serves).',
    );
  }
  if (input.table.tenant && input.table.onlyTenant) problems.push('`table` has both `tenant` and `onlyTenant`.');
  for (const name of input.createOnly ?? []) mustBeField(name, 'createOnly');
  for (const name of Object.keys(input.defaults ?? {})) mustBeField(name, 'defaults');
  for (const name of Object.keys(input.columns ?? {})) mustBeField(name, 'columns');
  for (const name of input.rulesRead ?? []) mustBeField(name, 'rulesRead');
  for (const name of input.sortable ?? []) {
    mustBeField(name, 'sortable');
    if (!((input.fields.required ?? []) as readonly string[]).includes(name)) {
      problems.push(`\`sortable\` names "${name}", which may be null; only required fields give a stable order.`);
    }
  }
  if (input.lifecycle) {
    mustBeField(input.lifecycle.field, 'lifecycle.field');
    if (typeof input.lifecycle.of !== 'function') problems.push(...lifecycleProblems(input.lifecycle.of));
  }
  for (const [parameter, filter] of Object.entries(input.filters ?? {})) {
    if (filter.op === 'equals') mustBeField(filter.field, `filters.${parameter}`);
    if (filter.op === 'contains')
      for (const name of filter.fields) if (name !== input.idField) mustBeField(name, `filters.${parameter}`);
    if (filter.op === 'atLeast' && !input.table[filter.field]) {
      problems.push(`\`filters.${parameter}\` uses ${filter.field}, but \`table.${filter.field}\` names no column.`);
    }
  }
  return problems;
}
