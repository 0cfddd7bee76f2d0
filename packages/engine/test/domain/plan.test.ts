import { describe, expect, test } from 'vitest';
import { type BatchOptions, defaultLimits, parseOptions } from '../../src/domain/batch.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { isRepeating, planBatch } from '../../src/runtime/plan.ts';

const optionsOf = (options: JsonObject): BatchOptions => parseOptions(options, defaultLimits);
type Prefer = { respondAsync: boolean; waitSeconds: number | undefined };
const async = (waitSeconds?: number): Prefer => ({ respondAsync: true, waitSeconds });
const wait = (waitSeconds: number): Prefer => ({ respondAsync: false, waitSeconds });

describe('the route of a batch', () => {
  test.each<[JsonObject, number, Prefer | undefined, 'synchronous' | { waitMs: number; representation: boolean }]>([
    [{}, 0, undefined, 'synchronous'],
    [{}, 200, undefined, 'synchronous'],
    [{}, 201, undefined, { waitMs: 0, representation: false }],
    [{}, 201, wait(5), { waitMs: 5_000, representation: true }],
    [{}, 1001, wait(5), { waitMs: 5_000, representation: false }],
    [{}, 10, wait(5), 'synchronous'],
    [{}, 10, async(), { waitMs: 0, representation: false }],
    [{}, 10, async(3), { waitMs: 3_000, representation: true }],
    [{}, 10, async(900), { waitMs: 60_000, representation: true }],
    [{ mode: 'sync' }, 1000, async(), 'synchronous'],
    [{ mode: 'sync', waitForCompletion: true }, 5, undefined, 'synchronous'],
    [{ mode: 'async' }, 1, undefined, { waitMs: 0, representation: false }],
    [{ mode: 'async' }, 1, wait(2), { waitMs: 2_000, representation: true }],
    [{ mode: 'async', waitForCompletion: true }, 1, undefined, { waitMs: 60_000, representation: true }],
    [{ waitForCompletion: true }, 1, async(), 'synchronous'],
    [{ waitForCompletion: true }, 500, undefined, { waitMs: 60_000, representation: true }],
    [{ waitForCompletion: false }, 1, wait(5), { waitMs: 0, representation: false }],
    [{ atomic: true }, 1000, undefined, 'synchronous'],
    [{ atomic: true, mode: 'async' }, 1000, undefined, { waitMs: 0, representation: false }],
  ])('%j of %i items, preferring %j: %j', (options, count, prefer, route) => {
    const expected = route === 'synchronous' ? { kind: route } : { kind: 'job', ...route };
    expect(planBatch(optionsOf(options), prefer, count, defaultLimits)).toEqual(expected);
  });

  test.each<[JsonObject, string]>([
    [{ mode: 'sync' }, 'A synchronous batch'],
    [{ atomic: true }, 'An atomic batch'],
    [{ atomic: true, mode: 'async' }, 'An atomic batch'],
  ])('%j of too many items is refused, naming the limit', (options, message) => {
    expect(() => planBatch(optionsOf(options), undefined, 1001, defaultLimits)).toThrow(
      expect.objectContaining({
        code: 'batch_too_large',
        message: expect.stringContaining(message),
        details: expect.objectContaining({ limit: 1000, actual: 1001 }),
      }),
    );
  });

  test('options that contradict each other are refused', () => {
    expect(() => planBatch(optionsOf({ mode: 'sync', waitForCompletion: false }), undefined, 1, defaultLimits)).toThrow(
      expect.objectContaining({ code: 'malformed_body' }),
    );
  });
});

test('a batch repeats when an id stands in it twice', () => {
  const items = (...ids: string[]) => ids.map((id) => ({ id, fields: {} }));
  expect([isRepeating(items()), isRepeating(items('a', 'b')), isRepeating(items('a', 'b', 'a'))]).toEqual([
    false,
    false,
    true,
  ]);
});
