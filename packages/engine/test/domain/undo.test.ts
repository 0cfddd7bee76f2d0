import { expect, test } from 'vitest';
import type { Change } from '../../src/domain/decide.ts';
import { undoItem } from '../../src/domain/undo.ts';

const change = (version: number | null, before: object, after: object): Change =>
  ({ id: 'a', version, index: 0, before, after }) as Change;

test('the value before the first change counts, field by field, guarded by the last version', () => {
  const changes = [
    change(2, { size: 1, note: null }, { size: 2, note: 'x' }),
    change(3, { size: 2 }, { size: 3 }),
    change(4, { name: 'n' }, { name: 'm' }),
  ];
  expect(undoItem(changes)).toEqual({
    id: 'a',
    fields: { size: 1, note: null, name: 'n' },
    restore: true,
    version: 4,
  });
});

test('without a version, the values that were left are the guard', () => {
  const changes = [change(null, { size: 1 }, { size: 2 }), change(null, { size: 2 }, { size: 3 })];
  expect(undoItem(changes)).toEqual({ id: 'a', fields: { size: 1 }, restore: true, expect: { size: 3 } });
});

test('a field that was not recorded before becomes null', () => {
  expect(undoItem([change(1, {}, { size: 2 })]).fields).toEqual({ size: null });
});
