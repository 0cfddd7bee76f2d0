import { describe, expect, test } from 'vitest';
import { RepeatedIds } from '../../src/domain/repeated-ids.ts';

function idsOf(count: number, from = 0): RepeatedIds {
  const ids = new RepeatedIds();
  for (let n = from; n < from + count; n++) ids.add(`CASE-${n}`);
  return ids;
}

describe('ids that come one by one', () => {
  test('are all different, a few or several hundred thousand', () => {
    for (const count of [0, 1, 9_999, 10_000, 10_001, 600_000]) expect(idsOf(count).found, `${count} ids`).toBe(false);
  });

  test.each([
    [10, 3],
    [20_000, 3],
    [20_000, 15_000],
    [300_000, 9_000],
    [300_000, 299_999],
  ])('of %i of which one comes again', (count, again) => {
    const ids = idsOf(count);
    ids.add(`CASE-${again}`);
    expect(ids.found).toBe(true);
    ids.add('another');
    expect(ids.found).toBe(true);
  });

  test('are told apart when they differ in one character anywhere', () => {
    const ids = new RepeatedIds();
    for (let n = 0; n < 100_000; n++) ids.add(`${n}-${'x'.repeat(n % 7)}-${n % 10}`);
    expect(ids.found).toBe(false);
  });
});
