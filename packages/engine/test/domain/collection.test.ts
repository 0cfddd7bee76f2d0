import Type from 'typebox';
import { describe, expect, test } from 'vitest';
import { isRetryable, itemCodes } from '../../src/domain/codes.ts';
import { type CollectionInput, defineCollection, presentRecord } from '../../src/domain/collection.ts';
import { lifecycleProblems } from '../../src/domain/lifecycle.ts';

const sound = {
  name: 'things',
  idField: 'thingId',
  table: { name: 'things', id: 'id', tenant: 'tenant_id', version: 'version', createdAt: 'created_at' },
  fields: Type.Object({
    name: Type.String({ minLength: 1 }),
    dueDate: Type.Optional(Type.String()),
    level: Type.Optional(Type.Union([Type.Literal('low'), Type.Literal('high')])),
    data: Type.Optional(Type.Object({ n: Type.Integer() })),
  }),
} satisfies CollectionInput<never, unknown> | object;

const define = (changes: object) => () => defineCollection({ ...sound, ...changes } as never);

test('fields map to columns in snake_case unless told otherwise', () => {
  const { fields } = defineCollection({ ...sound, columns: { name: 'title' } });
  expect([...fields.values()].map((field) => [field.name, field.column, field.nullable])).toEqual([
    ['name', 'title', false],
    ['dueDate', 'due_date', true],
    ['level', 'level', true],
    ['data', 'data', true],
  ]);
});

test('a list may be sorted by the id, the times that the table has, and the fields named', () => {
  expect(defineCollection({ ...sound, sortable: ['name'] }).sortable).toEqual(['thingId', 'createdAt', 'name']);
  const timed = { ...sound, table: { ...sound.table, updatedAt: 'updated_at' } };
  expect(defineCollection(timed).sortable).toEqual(['thingId', 'createdAt', 'updatedAt']);
});

test('path, check and lifecycle have defaults', () => {
  const collection = defineCollection(sound);
  expect(collection.path).toBe('things');
  expect(collection.check({} as never)).toBeUndefined();
  expect(collection.lifecycleOf({}, undefined)).toBeUndefined();
});

describe('validation of a field', () => {
  const field = (name: string) => defineCollection(sound).fields.get(name);
  test('passes what the schema allows, and null where the field is optional', () => {
    expect(field('name')?.validate('a')).toBeUndefined();
    expect(field('dueDate')?.validate(null)).toBeUndefined();
  });
  test('names the place and the rule', () => {
    expect(field('name')?.validate(null)?.message).toBe('is required and cannot be null');
    expect(field('name')?.validate('')?.message).toMatch(/1/);
    expect(field('data')?.validate({ n: 'x' })).toMatchObject({ pointer: '/n' });
    expect(field('level')?.validate('middle')?.message).toBeTruthy();
  });
});

test('a record is shown with the columns that its table has', () => {
  const state = { id: 't1', version: 3, fields: { name: 'a' }, createdAt: 'then', updatedAt: 'later' };
  expect(presentRecord(defineCollection(sound) as never, state)).toEqual({
    thingId: 't1',
    name: 'a',
    dueDate: null,
    level: null,
    data: null,
    version: 3,
    createdAt: 'then',
  });
  const bare = { ...sound, table: { name: 'things', id: 'id', onlyTenant: 'acme', updatedAt: 'updated_at' } };
  expect(presentRecord(defineCollection(bare) as never, state)).toMatchObject({ updatedAt: 'later' });
  expect(presentRecord(defineCollection(bare) as never, state)).not.toHaveProperty('version');
});

describe('a definition that contradicts itself is refused', () => {
  const lifecycle = { statuses: ['a'], initial: 'a', transitions: {} };
  test.each<[string, object, string]>([
    ['name', { name: 'My Things' }, 'lower case'],
    ['no fields', { fields: Type.Object({}) }, '`fields` is empty'],
    ['reserved name', { fields: Type.Object({ version: Type.String() }) }, '"version" is reserved'],
    ['the id as a field', { fields: Type.Object({ thingId: Type.String() }) }, '"thingId" is reserved'],
    ['no tenant', { table: { name: 'things', id: 'id' } }, '`table` needs `tenant`'],
    ['two tenants', { table: { ...sound.table, onlyTenant: 'acme' } }, 'both `tenant` and `onlyTenant`'],
    ['createOnly', { createOnly: ['nope'] }, 'createOnly'],
    ['defaults', { defaults: { nope: 1 } }, 'defaults'],
    ['columns', { columns: { nope: 'x' } }, 'columns'],
    ['sortable', { sortable: ['nope'] }, 'sortable'],
    ['sortable nullable', { sortable: ['dueDate'] }, 'may be null'],
    ['lifecycle field', { lifecycle: { field: 'nope', of: lifecycle } }, 'lifecycle.field'],
    ['lifecycle', { lifecycle: { field: 'name', of: { ...lifecycle, initial: 'b' } } }, 'initial status "b"'],
    ['equals filter', { filters: { f: { op: 'equals', field: 'nope' } } }, 'filters.f'],
    ['contains filter', { filters: { f: { op: 'contains', fields: ['thingId', 'nope'] } } }, 'filters.f'],
    ['atLeast filter', { filters: { f: { op: 'atLeast', field: 'updatedAt' } } }, 'names no column'],
  ])('%s', (_, changes, message) => {
    expect(define(changes)).toThrow(message);
  });

  test('every problem is named at once', () => {
    expect(define({ name: 'X', createOnly: ['nope'], fields: Type.Object({ id: Type.String() }) })).toThrow(
      /lower case[\s\S]*reserved[\s\S]*createOnly/,
    );
  });
  test('sound filters and a chosen lifecycle pass', () => {
    const filters = {
      q: { op: 'contains', fields: ['thingId', 'name'] },
      since: { op: 'atLeast', field: 'createdAt' },
    };
    expect(define({ filters, lifecycle: { field: 'name', of: () => lifecycle } })).not.toThrow();
  });
});

test('problems of a lifecycle', () => {
  expect(lifecycleProblems({ statuses: ['a', 'b'], initial: 'a', transitions: { a: ['b'] } })).toEqual([]);
  expect(lifecycleProblems({ statuses: [], initial: 'a', transitions: {} })).toHaveLength(2);
  expect(
    lifecycleProblems({ statuses: ['a', 'a'], initial: 'a', transitions: { a: ['x'], y: ['a'] } }).join('\n'),
  ).toMatch(/twice[\s\S]*"x"[\s\S]*"y"/);
});

test('items that were not tried may be tried again, items that are wrong may not', () => {
  expect(itemCodes.filter(isRetryable)).toEqual(['deadline_exceeded', 'stopped', 'cancelled', 'internal']);
});
