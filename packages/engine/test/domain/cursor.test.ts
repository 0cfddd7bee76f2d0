import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RequestError } from '../../src/domain/codes.ts';
import { decodeCursor, encodeCursor } from '../../src/domain/cursor.ts';

const position = fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.constant(null)), { maxLength: 4 });

test('a cursor gives back the place that it was made of', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), position, (scope, place) => {
      expect(decodeCursor(encodeCursor(scope, place), scope)).toEqual(place);
    }),
  );
});

test('a cursor of other filters is refused', () => {
  const cursor = encodeCursor('cases status=New', ['c1']);
  expect(() => decodeCursor(cursor, 'cases status=Closed')).toThrow(
    expect.objectContaining({ code: 'invalid_parameter', message: expect.stringContaining('other filters') }),
  );
});

describe('a damaged cursor is refused as invalid_parameter', () => {
  const cursor = encodeCursor('list', ['c1', 7]);
  test.each([
    '',
    'x',
    '%%%',
    '\u0000',
    '\ud800',
    Buffer.from('null').toString('base64url'),
    Buffer.from('{"a":1}').toString('base64url'),
    Buffer.from('[]').toString('base64url'),
    cursor.slice(0, -3),
    `${cursor}!`,
    `${cursor}AAAA`,
    ` ${cursor}`,
  ])('%j', (damaged) => {
    expect(() => decodeCursor(damaged, 'list')).toThrow(expect.objectContaining({ code: 'invalid_parameter' }));
  });

  test('any text at all', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        try {
          decodeCursor(text, 'list');
        } catch (error) {
          expect(error).toBeInstanceOf(RequestError);
          return;
        }
        throw new Error(`"${text}" was taken for a cursor.`);
      }),
    );
  });

  test('one whose place has another shape than the list needs', () => {
    for (const place of [[], ['a'], ['a', 'b'], [1, 2], [null, 1], ['a', 1, 2], ['a', 1.5], ['a', 2 ** 31], [{}, 1]]) {
      expect(() => decodeCursor(encodeCursor('list', place), 'list', ['text', 'integer'])).toThrow(
        expect.objectContaining({ code: 'invalid_parameter' }),
      );
    }
    expect(decodeCursor(encodeCursor('list', ['a', 1]), 'list', ['text', 'integer'])).toEqual(['a', 1]);
    expect(decodeCursor(encodeCursor('list', [null]), 'list', ['value'])).toEqual([null]);
  });
});
