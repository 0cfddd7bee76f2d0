import { describe, expect, test } from 'vitest';
import { defaultLimits } from '../../src/domain/batch.ts';
import { checkTenantQueue, checkWholeQueue, isNearlyFull } from '../../src/domain/queue.ts';

const limits = { ...defaultLimits, queuedItemsPerTenant: 1_000, queuedJobsPerTenant: 3, queuedItems: 2_000 };
const queue = (items: number, jobs = 0, itemsPerSecond = 0) => ({ items, jobs, itemsPerSecond });
const refusal = (work: () => void) => {
  try {
    work();
  } catch (error) {
    const { code, details } = error as { code: string; details: object };
    return { code, ...details };
  }
  return undefined;
};

describe('what may wait', () => {
  test('goes up to the bound and no further', () => {
    expect(refusal(() => checkTenantQueue(queue(900, 2), { jobs: 1, items: 100 }, limits))).toBeUndefined();
    expect(refusal(() => checkTenantQueue(queue(901, 2), { jobs: 1, items: 100 }, limits))).toEqual({
      code: 'rate_limited',
      limit: 1_000,
      actual: 1_001,
      retryAfter: 5,
    });
    expect(refusal(() => checkTenantQueue(queue(0, 3), { jobs: 1, items: 1 }, limits))).toMatchObject({
      code: 'rate_limited',
      limit: 3,
      actual: 4,
    });
    expect(refusal(() => checkWholeQueue(queue(1_900), { jobs: 1, items: 100 }, limits))).toBeUndefined();
    expect(refusal(() => checkWholeQueue(queue(2_001), { jobs: 0, items: 0 }, limits))).toMatchObject({
      code: 'overloaded',
      limit: 2_000,
      actual: 2_001,
    });
  });

  test('is too large where there will never be room for it', () => {
    expect(refusal(() => checkTenantQueue(queue(0), { jobs: 1, items: 1_001 }, limits))).toEqual({
      code: 'batch_too_large',
      limit: 1_000,
      actual: 1_001,
    });
  });

  test.each([
    [100, 0, 5],
    [100, 10, 10],
    [1, 1_000_000, 1],
    [1_000, 0.01, 3_600],
  ])('%i items too many at %f a second: worth another try after %i s', (excess, rate, seconds) => {
    expect(refusal(() => checkWholeQueue(queue(2_000 + excess, 1, rate), { jobs: 1, items: 0 }, limits))).toMatchObject(
      { retryAfter: seconds },
    );
  });

  test('is looked at closely only near a bound', () => {
    const far = queue(0);
    const one = { jobs: 1, items: 1 } as const;
    expect(isNearlyFull(far, far, one, defaultLimits)).toBe(false);
    expect(isNearlyFull(queue(19_000_000), far, one, defaultLimits)).toBe(true);
    expect(isNearlyFull(queue(0, 9_000), far, one, defaultLimits)).toBe(true);
    expect(isNearlyFull(far, queue(99_000_000), one, defaultLimits)).toBe(true);
  });
});
