import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NumberSet } from '../../src/domain/number-set.ts';

function setOf(numbers: readonly number[]): NumberSet {
  const set = new NumberSet();
  for (const number of numbers) set.add(number);
  return set;
}

test('is written as ranges', () => {
  expect(String(setOf([]))).toBe('');
  expect(String(setOf([3, 1, 0, 2, 9, 7, 5]))).toBe('0-3.5.7.9');
});

test('holds what was added, in any order, and nothing else; its text is read back the same', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(60), { maxLength: 80 }), (numbers) => {
      const set = setOf(numbers);
      const read = NumberSet.parse(String(set)) as NumberSet;
      for (let number = 0; number <= 61; number++) {
        expect(set.has(number)).toBe(numbers.includes(number));
        expect(read.has(number)).toBe(numbers.includes(number));
      }
      expect(String(read)).toBe(String(set));
      expect(String(set)).toBe(String(setOf([...numbers].sort((left, right) => left - right))));
    }),
  );
});

test.each(['1-', '-1', '5-3', '1.1', '1.2', '3.1', 'x', '1,2', '0-9999999999', ' 1'])('%j is refused', (text) => {
  expect(NumberSet.parse(text)).toBeUndefined();
});
