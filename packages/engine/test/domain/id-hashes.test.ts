import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeIdHashes, hashId, idFinder } from '../../src/domain/id-hashes.ts';

const ids = fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1, maxLength: 50 });

test('every id that is there is found', () => {
  fc.assert(
    fc.property(ids, ids, (stored, others) => {
      const found = idFinder([...others, ...stored])(encodeIdHashes(stored));
      expect(new Set(found)).toEqual(new Set(stored));
    }),
  );
});

test('none of a million ids is taken for one of a thousand others', () => {
  const find = idFinder(Array.from({ length: 1000 }, (_, n) => `CASE-${n}`));
  for (let part = 1; part <= 100; part++) {
    const stored = Array.from({ length: 10_000 }, (_, n) => `CASE-${part * 10_000 + n}`);
    expect(find(encodeIdHashes(stored))).toEqual([]);
  }
  expect(idFinder([])(encodeIdHashes(['CASE-1']))).toEqual([]);
});

test('hashes are those that stored chunks were written with', () => {
  expect(hashId('CASE-001').map((hash) => hash >>> 0)).toEqual([2536182376, 1218547028]);
});
