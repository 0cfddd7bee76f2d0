import Type from 'typebox';
import type { Item } from '../../src/domain/batch.ts';
import {
  type Collection,
  type CollectionInput,
  defineCollection,
  type RecordState,
} from '../../src/domain/collection.ts';
import type { DecideParams } from '../../src/domain/decide.ts';
import type { JsonObject } from '../../src/domain/json.ts';

const fields = {
  title: Type.String({ minLength: 1 }),
  status: Type.String(),
  kind: Type.Optional(Type.String()),
  count: Type.Integer({ minimum: 0 }),
  note: Type.Optional(Type.String()),
  data: Type.Object({}, { additionalProperties: true }),
};

type Overrides = Partial<CollectionInput<typeof fields, unknown>>;

/** A collection with every kind of rule that a decision looks at. */
export function defineThings(overrides: Overrides = {}): Collection<never> {
  return defineCollection({
    name: 'things',
    idField: 'thingId',
    table: { name: 'things', id: 'id', tenant: 'tenant_id', version: 'version', updatedAt: 'updated_at' },
    fields: Type.Object(fields),
    createOnly: ['kind'],
    defaults: { count: 0, data: {} },
    lifecycle: {
      field: 'status',
      of: { statuses: ['new', 'open', 'done'], initial: 'new', transitions: { new: ['open'], open: ['new', 'done'] } },
    },
    check: ({ after }) =>
      after.fields.title === 'forbidden'
        ? { code: 'validation_failed', message: 'That title is forbidden.', field: 'title' }
        : undefined,
    ...overrides,
  }) as Collection<never>;
}

export const things = defineThings();
/** The same over a table without a version column. */
export const unversioned = defineThings({ table: { name: 'things', id: 'id', tenant: 'tenant_id' } });

export const now = '2026-01-02T00:00:00Z';

export function thing(id: string, changes: JsonObject = {}, version: number | null = 1): RecordState {
  const defaults = { title: `thing ${id}`, status: 'new', kind: null, count: 1, note: null, data: {} };
  return { id, version, fields: { ...defaults, ...changes }, createdAt: null, updatedAt: '2026-01-01T00:00:00Z' };
}

export function recordsOf(...records: RecordState[]): Map<string, RecordState> {
  return new Map(records.map((record) => [record.id, record]));
}

export function paramsOf(items: readonly Item[], rest: Partial<DecideParams<never>> = {}): DecideParams<never> {
  return {
    collection: things,
    operation: 'update',
    items,
    firstIndex: 0,
    records: recordsOf(thing('a'), thing('b')),
    context: undefined as never,
    now,
    representation: false,
    preview: false,
    failuresAllowed: Number.POSITIVE_INFINITY,
    firstResults: new Map(),
    held: new Set(),
    ...rest,
  };
}
