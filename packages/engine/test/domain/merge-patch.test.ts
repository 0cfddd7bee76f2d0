import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Json } from '../../src/domain/json.ts';
import { mergePatch } from '../../src/domain/merge-patch.ts';

/** RFC 7396, appendix A: original, patch, result. */
const vectors: [Json, Json, Json][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

describe('the vectors of RFC 7396', () => {
  test.each(vectors)('%j patched with %j is %j', (target, patch, result) => {
    expect(mergePatch(target, patch)).toEqual(result);
  });
});

test('a member named __proto__ is a member like any other', () => {
  const patch = JSON.parse('{"__proto__":{"admin":true}}');
  const merged = mergePatch({ a: 1 }, patch) as Record<string, unknown>;
  expect(JSON.stringify(merged)).toBe('{"a":1,"__proto__":{"admin":true}}');
  expect(merged.admin).toBeUndefined();
});

test('a patch applied twice does what it does once, and changes neither argument', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (target, patch) => {
      const before = JSON.stringify([target, patch]);
      const once = mergePatch(target as Json, patch as Json);
      expect(mergePatch(once, patch as Json)).toEqual(once);
      expect(JSON.stringify([target, patch])).toBe(before);
    }),
  );
});
