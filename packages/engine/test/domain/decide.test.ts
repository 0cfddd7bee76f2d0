import { describe, expect, test } from 'vitest';
import type { Item } from '../../src/domain/batch.ts';
import {
  cancelledResults,
  type DecideParams,
  decide,
  failed,
  type ItemResult,
  withholdAtomic,
} from '../../src/domain/decide.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { defineThings, now, paramsOf, recordsOf, thing, unversioned } from './things.ts';

const update = (fields: JsonObject, rest: Partial<Item> = {}): Item => ({ id: 'a', fields, ...rest });

function decideOne(item: Item, rest: Partial<DecideParams<never>> = {}) {
  const decision = decide(paramsOf([item], rest));
  return { ...decision, result: decision.results[0] as ItemResult };
}
const codeOf = (item: Item, rest?: Partial<DecideParams<never>>) => decideOne(item, rest).result.error?.code;
const codes = (results: readonly ItemResult[]) => results.map((one) => one.error?.code ?? one.status);

describe('an update', () => {
  test('writes the changed fields, the next version and the time', () => {
    const { result, changes, writes } = decideOne(update({ title: 'T', count: 1 }, { ref: 'line 1' }));
    expect(result).toEqual({ index: 0, id: 'a', ref: 'line 1', status: 'succeeded', changed: true, version: 2 });
    expect(changes).toEqual([{ id: 'a', version: 2, index: 0, before: { title: 'thing a' }, after: { title: 'T' } }]);
    expect(writes.get('a')).toMatchObject({ version: 2, updatedAt: now, fields: { title: 'T', status: 'new' } });
  });

  test('that asks for what is there already writes nothing and keeps the version', () => {
    const { result, changes, writes } = decideOne(update({ title: 'thing a', status: 'new', data: {} }));
    expect(result).toEqual({ index: 0, id: 'a', status: 'succeeded', changed: false, version: 1 });
    expect([changes.length, writes.size]).toEqual([0, 0]);
  });

  test('of no fields is such a one too', () => {
    expect(decideOne(update({})).result.changed).toBe(false);
  });

  test('of an id that is not there is not_found', () => {
    expect(decideOne({ id: 'nobody', fields: {} }).result).toMatchObject({
      index: 0,
      id: 'nobody',
      status: 'failed',
      retryable: false,
      error: { code: 'not_found', field: null, message: expect.stringContaining('thingId "nobody"') },
    });
  });

  test('counts its index from the first of the chunk', () => {
    const { result, changes } = decideOne(update({ count: 2 }), { firstIndex: 4000 });
    expect([result.index, changes[0]?.index]).toEqual([4000, 4000]);
  });

  test('merges objects, replaces arrays, and removes with null', () => {
    const records = recordsOf(thing('a', { data: { x: 1, y: [1, 2], z: { k: 1 } }, note: 'n' }));
    const { writes } = decideOne(update({ data: { x: null, y: [3], z: { m: 2 } }, note: null }), { records });
    expect(writes.get('a')?.fields).toMatchObject({ data: { y: [3], z: { k: 1, m: 2 } }, note: null });
  });

  test('with null for a required field is refused', () => {
    expect(decideOne(update({ title: null })).result.error).toMatchObject({
      code: 'validation_failed',
      field: 'title',
    });
  });

  test.each<[JsonObject, string, string]>([
    [{ colour: 'red' }, 'unknown_field', 'colour'],
    [{ count: -1 }, 'validation_failed', 'count'],
    [{ count: '1' }, 'validation_failed', 'count'],
    [{ kind: 'other' }, 'validation_failed', 'kind'],
    [{ status: 'done' }, 'invalid_transition', 'status'],
    [{ status: 'nowhere' }, 'validation_failed', 'status'],
    [{ title: 'forbidden' }, 'validation_failed', 'title'],
  ])('to %j is refused as %s of %s', (fields, code, field) => {
    expect(decideOne(update(fields)).result.error).toMatchObject({ code, field });
  });

  test('is refused for an unknown field even when that would change nothing', () => {
    expect(codeOf(update(JSON.parse('{"__proto__":{"title":"x"}}')))).toBe('unknown_field');
    expect(codeOf(update({ thingId: 'b' }))).toBe('unknown_field');
    expect(codeOf(update({ toString: 'x' }))).toBe('unknown_field');
  });

  test('names the fields, the statuses and the moves there are', () => {
    expect(decideOne(update({ colour: 1 })).result.error?.message).toContain('title, status');
    expect(decideOne(update({ status: 'x' })).result.error?.message).toContain('new, open, done');
    expect(decideOne(update({ status: 'done' })).result.error?.message).toContain('may go to: open');
    const done = recordsOf(thing('a', { status: 'done' }));
    expect(decideOne(update({ status: 'new' }), { records: done }).result.error?.message).toContain('done is final');
  });

  test('from a status whose name every object has is no move', () => {
    const records = recordsOf(thing('a', { status: 'constructor' }));
    expect(codeOf(update({ status: 'open' }), { records })).toBe('invalid_transition');
  });

  test('may leave a createOnly field as it is', () => {
    expect(decideOne(update({ kind: null, count: 9 })).result.status).toBe('succeeded');
  });

  test('shows the resource when asked, and before and after in a preview', () => {
    const { result } = decideOne(update({ count: 5 }), { representation: true, preview: true });
    expect(result).toMatchObject({ before: { count: 1 }, after: { count: 5 } });
    expect(result.resource).toMatchObject({ thingId: 'a', count: 5, version: 2, updatedAt: now });
  });

  test('without lifecycle, or for which none is known, moves freely', () => {
    const free = defineThings({ lifecycle: { field: 'status', of: () => undefined } });
    expect(decideOne(update({ status: 'anything' }), { collection: free }).result.status).toBe('succeeded');
  });
});

describe('what an item expects', () => {
  test('of the version holds or is a version_conflict', () => {
    expect(decideOne(update({ count: 2 }, { version: 1 })).result.status).toBe('succeeded');
    expect(decideOne(update({ count: 2 }, { version: 2 })).result).toMatchObject({
      status: 'failed',
      error: { code: 'version_conflict', field: 'version', message: expect.stringContaining('version 1, not 2') },
    });
  });
  test('of the version is checked before anything else, also when nothing would change', () => {
    expect(codeOf(update({ colour: 1 }, { version: 2 }))).toBe('version_conflict');
    expect(codeOf(update({}, { version: 2 }))).toBe('version_conflict');
  });
  test('of a version is refused where records have none', () => {
    const records = recordsOf(thing('a', {}, null));
    expect(codeOf(update({}, { version: 1 }), { records, collection: unversioned })).toBe('validation_failed');
  });
  test('of field values holds or is a version_conflict', () => {
    expect(decideOne(update({ count: 2 }, { expect: { count: 1, note: null } })).result.status).toBe('succeeded');
    expect(decideOne(update({ count: 2 }, { expect: { count: 7 } })).result.error).toMatchObject({
      code: 'version_conflict',
      field: 'count',
    });
  });
  test('a verdict given beforehand stands', () => {
    const verdict = { code: 'not_found', message: 'It was not there.', field: null } as const;
    expect(decideOne(update({ count: 2 }, { verdict })).result.error).toEqual(verdict);
  });
});

describe('a record without version', () => {
  const rest = { records: recordsOf(thing('a', {}, null)), collection: unversioned };
  test('has none in results and changes', () => {
    const { result, changes } = decideOne(update({ count: 2 }), rest);
    expect(result).not.toHaveProperty('version');
    expect(changes[0]?.version).toBeNull();
  });
  test('is shown as it is in a preview that would change nothing, so that applying it can be guarded', () => {
    const { result } = decideOne(update({ count: 1 }), { ...rest, preview: true });
    expect(result).toMatchObject({ changed: false, before: { count: 1 }, after: { count: 1 } });
  });
});

describe('repeats of an id', () => {
  test('each see the one before', () => {
    const items = [
      update({ status: 'open' }),
      update({ status: 'done' }),
      update({ status: 'open' }),
      update({ count: 4 }),
    ];
    const { results, changes, writes } = decide(paramsOf(items));
    expect(codes(results)).toEqual(['succeeded', 'succeeded', 'invalid_transition', 'succeeded']);
    expect(changes.map((one) => [one.version, one.index, one.before])).toEqual([
      [2, 0, { status: 'new' }],
      [3, 1, { status: 'open' }],
      [4, 3, { count: 1 }],
    ]);
    expect(writes.get('a')).toMatchObject({ version: 4, fields: { status: 'done', count: 4 } });
  });

  test('check the version that the one before left', () => {
    const items = [
      update({ count: 2 }, { version: 1 }),
      update({ count: 3 }, { version: 1 }),
      update({ count: 3 }, { version: 2 }),
    ];
    expect(codes(decide(paramsOf(items)).results)).toEqual(['succeeded', 'version_conflict', 'succeeded']);
  });

  test('in creations find the record that the one before made', () => {
    const items = [
      { id: 'n', fields: { title: 'x' } },
      { id: 'n', fields: { title: 'y' } },
    ];
    const { results, writes } = decide(paramsOf(items, { operation: 'create' }));
    expect(codes(results)).toEqual(['succeeded', 'already_exists']);
    expect(writes.get('n')?.fields.title).toBe('x');
  });
});

describe('maxErrors', () => {
  test('stops after so many failures', () => {
    const items = [update({ x: 1 }), update({ count: 2 }), update({ x: 1 }), update({ count: 3 }), update({ x: 1 })];
    const { results, writes } = decide(paramsOf(items, { failuresAllowed: 2 }));
    expect(codes(results)).toEqual(['unknown_field', 'succeeded', 'unknown_field', 'stopped', 'stopped']);
    expect(results[3]).toMatchObject({ index: 3, status: 'not_processed', retryable: true });
    expect(writes.get('a')?.fields.count).toBe(2);
  });
  test('that were used up by earlier chunks process nothing', () => {
    for (const failuresAllowed of [0, -2]) {
      expect(codes(decide(paramsOf([update({ count: 2 })], { failuresAllowed })).results)).toEqual(['stopped']);
    }
  });
});

test('a record that another transaction holds is not processed, and its item is no failure', () => {
  const items = [
    update({ count: 2 }),
    { id: 'b', fields: { count: 2 } },
    update({ x: 1 }),
    { id: 'b', fields: { x: 1 } },
  ];
  const { results, writes } = decide(paramsOf(items, { held: new Set(['a']), failuresAllowed: 2 }));
  expect(codes(results)).toEqual(['deadline_exceeded', 'succeeded', 'deadline_exceeded', 'unknown_field']);
  expect(results[0]).toMatchObject({ status: 'not_processed', retryable: true });
  expect([...writes.keys()]).toEqual(['b']);
});

describe("an item's own key", () => {
  const first: ItemResult = { index: 7, id: 'a', ref: 'old', status: 'succeeded', changed: true, version: 2 };
  test('that was applied before gives that first result in its new place', () => {
    const item = update({ count: 99 }, { idempotencyKey: 'k', ref: 'new' });
    const { result, writes } = decideOne(item, { firstResults: new Map([['k', first]]), firstIndex: 3 });
    expect(result).toEqual({ ...first, index: 3, ref: 'new', replayed: true });
    expect(writes.size).toBe(0);
    const { ref: _, ...unnamed } = item;
    expect(decideOne(unnamed, { firstResults: new Map([['k', first]]) }).result).not.toHaveProperty('ref');
  });
  test('twice within a batch applies once', () => {
    const items = [update({ count: 2 }, { idempotencyKey: 'k' }), update({ count: 3 }, { idempotencyKey: 'k' })];
    const { results, changes } = decide(paramsOf(items));
    expect(results.map((one) => [one.index, one.version, one.replayed])).toEqual([
      [0, 2, undefined],
      [1, 2, true],
    ]);
    expect(changes).toHaveLength(1);
  });
  test('of an item that failed is free again', () => {
    const items = [update({ x: 1 }, { idempotencyKey: 'k' }), update({ count: 3 }, { idempotencyKey: 'k' })];
    expect(codes(decide(paramsOf(items)).results)).toEqual(['unknown_field', 'succeeded']);
  });
  test('replays also behind the stop of maxErrors, and where the record is held', () => {
    const item = update({}, { idempotencyKey: 'k' });
    const rest = { firstResults: new Map([['k', first]]), failuresAllowed: 0, held: new Set(['a']) };
    expect(decideOne(item, rest).result.replayed).toBe(true);
  });
});

describe('a creation', () => {
  const create = (fields: JsonObject, rest: Partial<DecideParams<never>> = {}) =>
    decideOne({ id: 'n', fields }, { operation: 'create', ...rest });

  test('fills defaults, the initial status and null, and starts at version 1', () => {
    const { result, changes, writes } = create({ title: 'T' });
    const fields = { title: 'T', status: 'new', kind: null, count: 0, note: null, data: {} };
    expect(result).toEqual({ index: 0, id: 'n', status: 'succeeded', changed: true, version: 1 });
    expect(writes.get('n')).toEqual({ id: 'n', version: 1, fields, createdAt: now, updatedAt: now });
    expect(changes).toEqual([{ id: 'n', version: 1, index: 0, before: null, after: fields }]);
  });
  test('has no version where the table has none', () => {
    expect(create({ title: 'T' }, { collection: unversioned }).writes.get('n')?.version).toBeNull();
  });
  test('may set a createOnly field and any known status', () => {
    expect(create({ title: 'T', kind: 'k', status: 'done' }).writes.get('n')?.fields).toMatchObject({
      kind: 'k',
      status: 'done',
    });
  });
  test('takes null as a value, not as a default; null inside an object means nothing', () => {
    expect(create({ title: 'T', count: null }).result.error).toMatchObject({
      code: 'validation_failed',
      field: 'count',
    });
    expect(create({ title: 'T', status: null }).result.error).toMatchObject({
      code: 'validation_failed',
      field: 'status',
    });
    expect(create({ title: 'T', data: { x: null, y: 1 } }).writes.get('n')?.fields.data).toEqual({ y: 1 });
  });
  test.each<[JsonObject, string, string | null]>([
    [{}, 'validation_failed', 'title'],
    [{ title: '' }, 'validation_failed', 'title'],
    [{ title: 'T', colour: 1 }, 'unknown_field', 'colour'],
    [{ title: 'T', status: 'x' }, 'validation_failed', 'status'],
    [{ title: 'forbidden' }, 'validation_failed', 'title'],
  ])('of %j is refused as %s', (fields, code, field) => {
    expect(create(fields).result.error).toMatchObject({ code, field });
  });
  test('of an id that exists is refused', () => {
    expect(decideOne({ id: 'a', fields: { title: 'T' } }, { operation: 'create' }).result.error?.code).toBe(
      'already_exists',
    );
  });
  test('chooses the initial status by all fields, also those that are defined behind the status', () => {
    const collection = defineThings({
      lifecycle: {
        field: 'status',
        of: ({ kind }) => ({ statuses: [`first of ${kind}`], initial: `first of ${kind}`, transitions: {} }),
      },
    });
    expect(create({ title: 'T', kind: 'x' }, { collection }).writes.get('n')?.fields.status).toBe('first of x');
  });
  test('without a known lifecycle needs a status', () => {
    const collection = defineThings({ lifecycle: { field: 'status', of: () => undefined } });
    expect(create({ title: 'T' }, { collection }).result.error).toMatchObject({ field: 'status' });
    expect(create({ title: 'T', status: 'x' }, { collection }).result.status).toBe('succeeded');
  });
});

test("a collection's check sees before, after, what changed and the context", () => {
  const seen: unknown[] = [];
  const collection = defineThings({
    check: (input) => {
      seen.push([input.before?.fields.count, input.after.fields.count, input.changed, input.context]);
      return undefined;
    },
  });
  decide(paramsOf([update({ count: 2 }), update({ count: 2 })], { collection, context: 'ctx' as never }));
  expect(seen).toEqual([[1, 2, ['count'], 'ctx']]);
});

test('an atomic batch in which an item failed withholds what had succeeded', () => {
  const items = [update({ count: 2 }, { ref: 'r' }), update({ x: 1 })];
  const { results } = decide(paramsOf(items));
  expect(withholdAtomic(results, items)).toEqual([
    {
      index: 0,
      id: 'a',
      ref: 'r',
      status: 'not_processed',
      retryable: true,
      error: expect.objectContaining({ code: 'stopped' }),
    },
    results[1],
  ]);
});

test('a failure says whether trying again may help', () => {
  const internal = failed(2, update({}), { code: 'internal', message: '', field: null });
  expect(internal).toMatchObject({ index: 2, id: 'a', status: 'failed', retryable: true });
});

describe('an item that restores', () => {
  const restore = (fields: JsonObject): Item => update(fields, { restore: true });
  const records = recordsOf(thing('a', { status: 'done', kind: 'x', data: { x: 1 } }));

  test('sets values as they are, whatever the lifecycle says, also of fields that never change otherwise', () => {
    const { writes, result } = decideOne(restore({ data: { y: null }, status: 'new', kind: null }), { records });
    expect(result).toMatchObject({ status: 'succeeded', version: 2 });
    expect(writes.get('a')?.fields).toMatchObject({ data: { y: null }, status: 'new', kind: null });
  });

  test('is checked for valid values, for the rule of the collection, and for the version', () => {
    expect(codeOf(restore({ count: -1 }))).toBe('validation_failed');
    expect(codeOf(restore({ title: 'forbidden' }))).toBe('validation_failed');
    expect(codeOf({ ...restore({ count: 2 }), version: 7 })).toBe('version_conflict');
  });
});

test('an item that a cancelled job did not reach may be sent again', () => {
  expect(cancelledResults(7, [update({}, { ref: 'r' })])).toMatchObject([
    { index: 7, id: 'a', ref: 'r', status: 'not_processed', retryable: true, error: { code: 'cancelled' } },
  ]);
});
