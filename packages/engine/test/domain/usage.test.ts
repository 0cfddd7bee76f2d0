import { describe, expect, test } from 'vitest';
import { boundsOf, costOf, defaultPrices, isPrice, usageMonth, usageOf } from '../../src/domain/usage.ts';

describe('a batch costs', () => {
  const batch = { items: 3, single: false, dryRun: false };

  test('1 and 0.5 for each item, a single write 1, a dry run nothing', () => {
    expect(costOf(batch, defaultPrices)).toBe(2.5);
    expect(costOf({ ...batch, items: 0 }, defaultPrices)).toBe(1);
    expect(costOf({ ...batch, items: 5_000_000 }, defaultPrices)).toBe(2_500_001);
    expect(costOf({ items: 1, single: true, dryRun: false }, defaultPrices)).toBe(1);
    expect(costOf({ ...batch, dryRun: true }, defaultPrices)).toBe(0);
  });

  test('what is set, without the dust of floating point', () => {
    expect(costOf(batch, { batch: 0, item: 0.1 })).toBe(0.3);
    expect(costOf({ ...batch, items: 4_999_999 }, { batch: 0.2, item: 0.001 })).toBe(5_000.199);
    expect(costOf({ items: 1, single: true, dryRun: false }, { batch: 0, item: 7 })).toBe(0);
  });

  test('numbers of at most three decimals', () => {
    expect([0, 0.5, 0.001, 12, 1_000_000].every(isPrice)).toBe(true);
    expect([-1, 0.0005, 1_000_001, Number.NaN, Number.POSITIVE_INFINITY, '1', null].some(isPrice)).toBe(false);
  });
});

describe('a month', () => {
  const refusal = (month: string) => {
    try {
      return usageMonth(month, '2026-01-15');
    } catch (error) {
      return (error as Error).message;
    }
  };

  test('is the current one, or one of the twelve before', () => {
    expect(usageMonth(undefined, '2026-01-15')).toBe('2026-01');
    expect(refusal('2026-01')).toBe('2026-01');
    expect(refusal('2025-01')).toBe('2025-01');
    expect(refusal('2024-12')).toBe('Usage is kept for 13 months; the oldest one is 2025-01.');
    expect(refusal('0000-01')).toContain('the oldest one is 2025-01');
    expect(refusal('2026-02')).toBe('2026-02 has not begun; this month is 2026-01 (UTC).');
    for (const month of ['', '2026', '2026-1', '2026-13', '2026-00', '2026-01-01', ' 2026-01', '2026-01\n'])
      expect(refusal(month)).toMatch(/is no month\. Write it as 2026-01\.$/);
  });

  test('goes from its first day to the first of the next', () => {
    expect(boundsOf('2026-11')).toEqual({ from: '2026-11-01', to: '2026-12-01' });
    expect(boundsOf('2025-12')).toEqual({ from: '2025-12-01', to: '2026-01-01' });
  });

  test('has each of its days up to today, and their sum', () => {
    const counted = [
      { day: '2024-02-29', batches: 1, items: 2, credits: 0.2 },
      { day: '2024-02-03', batches: 2, items: 5, credits: 0.1 },
    ];
    const whole = usageOf('2024-02', '2024-03-01', counted);
    expect(whole.days).toHaveLength(29);
    expect(whole.days[0]).toEqual({ day: '2024-02-01', batches: 0, items: 0, credits: 0 });
    expect([whole.days[2], whole.days[28]]).toEqual([counted[1], counted[0]]);
    expect(whole).toMatchObject({ month: '2024-02', total: { batches: 3, items: 7, credits: 0.3 } });
    expect(usageOf('2024-02', '2024-02-03', counted)).toMatchObject({
      days: [{ day: '2024-02-01' }, { day: '2024-02-02' }, counted[1]],
      total: { batches: 2, items: 5, credits: 0.1 },
    });
  });
});
