import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeIdHashes, hashId, idMatcher } from '../../src/domain/id-hashes.ts';

const ids = fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1, maxLength: 50 });

test('an id that is there is never missed', () => {
  fc.assert(
    fc.property(ids, ids, fc.nat(), (stored, others, at) => {
      const wanted = stored[at % stored.length] as string;
      expect(idMatcher([...others, wanted])(encodeIdHashes(stored))).toBe(true);
    }),
  );
});

test('an id that is not there is hardly ever taken for one that is', () => {
  const encoded = encodeIdHashes(Array.from({ length: 1000 }, (_, n) => `CASE-${n}`));
  expect(encoded).toHaveLength(4000);
  expect(idMatcher(Array.from({ length: 1000 }, (_, n) => `CASE-${n + 1000}`))(encoded)).toBe(false);
  expect(idMatcher([])(encoded)).toBe(false);
});

test('hashes are those that stored chunks were written with', () => {
  expect(hashId('CASE-001').map((hash) => hash >>> 0)).toEqual([2536182376, 1218547028]);
});
