import { expect, test } from 'vitest';
import type { Item } from '../../src/domain/batch.ts';
import { fieldsRead } from '../../src/domain/fields-read.ts';
import { defineThings } from './things.ts';

const read = (items: Item[], rest: Partial<Parameters<typeof fieldsRead>[0]> = {}) => {
  const names = fieldsRead({
    collection: defineThings({ rulesRead: ['title'] }),
    operation: 'update',
    items,
    representation: false,
    ...rest,
  });
  return names && [...names].sort();
};
const items: Item[] = [
  { id: 'a', fields: { note: 'n' } },
  { id: 'b', fields: {}, expect: { count: 1 } },
];

test('an update reads what its items name, and what the rules look at', () => {
  expect(read(items)).toEqual(['count', 'note', 'title']);
});

test('all is read for resources, and for rules that do not say what they look at', () => {
  expect(read(items, { representation: true })).toBeUndefined();
  expect(read(items, { collection: defineThings() })).toBeUndefined();
  expect(
    read(items, { collection: defineThings({ lifecycle: { field: 'status', of: () => undefined } }) }),
  ).toBeUndefined();
});

test('nothing is read to create', () => {
  expect(read(items, { operation: 'create' })).toEqual([]);
});

test('a name that is no field is refused', () => {
  expect(() => defineThings({ rulesRead: ['colour' as 'title'] })).toThrow('`rulesRead` names the field "colour"');
});
