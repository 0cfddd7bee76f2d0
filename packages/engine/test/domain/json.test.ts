import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findUnstorableText, isJsonObject, type Json, jsonEqual, pointerSegment } from '../../src/domain/json.ts';

describe('equality', () => {
  test.each<[Json | undefined, Json | undefined, boolean]>([
    [1, 1, true],
    [1, '1', false],
    [null, null, true],
    [null, undefined, false],
    [undefined, undefined, true],
    [null, {}, false],
    [{}, null, false],
    [{}, [], false],
    [[], {}, false],
    [[1, 2], [1, 2], true],
    [[1, 2], [2, 1], false],
    [[1], [1, 2], false],
    [{ a: 1, b: { c: [1] } }, { b: { c: [1] }, a: 1 }, true],
    [{ a: 1 }, { a: 1, b: 2 }, false],
    [{ a: 1, b: 2 }, { a: 1 }, false],
    [{ a: 1 }, { b: 1 }, false],
    [{ toString: 1 }, { a: 1 }, false],
  ])('%j and %j: %j', (left, right, equal) => {
    expect(jsonEqual(left, right)).toBe(equal);
  });

  test('holds between a value and its copy, in both directions', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
        expect(jsonEqual(one as Json, structuredClone(one) as Json)).toBe(true);
        expect(jsonEqual(one as Json, other as Json)).toBe(jsonEqual(other as Json, one as Json));
      }),
    );
  });
});

test('an array and null are no objects', () => {
  expect([{}, [], null, 'a', undefined].map(isJsonObject)).toEqual([true, false, false, false, false]);
});

test('a pointer segment is escaped as RFC 6901 says', () => {
  expect(pointerSegment('a/b~c')).toBe('/a~1b~0c');
  expect(pointerSegment(3)).toBe('/3');
});

describe('text that PostgreSQL cannot store', () => {
  test.each<[Json, string | undefined]>([
    ['fine 🙂', undefined],
    [{ a: [1, true, null, 'x'] }, undefined],
    ['a\u0000b', ''],
    [{ list: ['ok', 'a\u0000'] }, '/list/1'],
    [{ 'a/b': { '\u0000': 1 } }, '/a~1b/\u0000'],
    [{ a: '\ud800' }, '/a'],
    [['\udc00x'], '/0'],
  ])('%j', (value, pointer) => {
    expect(findUnstorableText(value)?.pointer).toBe(pointer);
  });

  test('says which kind it is', () => {
    expect(findUnstorableText('\u0000')?.message).toContain('NUL');
    expect(findUnstorableText('\ud800')?.message).toContain('surrogate');
  });
});
