import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BatchOperation, Item } from '../../src/domain/batch.ts';
import type { CollectionInput, RecordState } from '../../src/domain/collection.ts';
import { type DecideParams, type Decision, decide, type ItemResult } from '../../src/domain/decide.ts';
import { fieldsRead } from '../../src/domain/fields-read.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { defineThings, paramsOf, recordsOf, thing } from './things.ts';

const fields: fc.Arbitrary<JsonObject> = fc.record(
  {
    title: fc.constantFrom('x', 'y', '', 'forbidden'),
    status: fc.constantFrom('new', 'open', 'done', 'nowhere'),
    count: fc.constantFrom(0, 1, 2, -1, null),
    note: fc.constantFrom('n', null),
    data: fc.constantFrom({ k: 1 }, { k: null }, { k: { m: 1 } }, {}),
    colour: fc.constant('red'),
  },
  { requiredKeys: [] },
);
/** Few ids and few values, so that repeats, no-ops and conflicts are common. */
const items: fc.Arbitrary<Item[]> = fc.array(
  fc.record(
    {
      id: fc.constantFrom('a', 'b', 'c', 'nobody'),
      fields,
      version: fc.integer({ min: 1, max: 3 }),
      ref: fc.constantFrom('r1', 'r2'),
      idempotencyKey: fc.constantFrom('k1', 'k2', 'k3', 'old'),
    },
    { requiredKeys: ['id', 'fields'] },
  ) as fc.Arbitrary<Item>,
  { maxLength: 12 },
);
const old: ItemResult = { index: 0, id: 'a', status: 'succeeded', changed: true, version: 1 };
const setting = fc
  .record({
    items,
    operation: fc.constantFrom<BatchOperation>('update', 'create'),
    firstIndex: fc.constantFrom(0, 1000),
    failuresAllowed: fc.constantFrom(0, 1, 2, Number.POSITIVE_INFINITY),
    held: fc.subarray(['a', 'b']),
    preview: fc.boolean(),
    representation: fc.boolean(),
  })
  .map(({ items, held, ...rest }) =>
    paramsOf(items, {
      ...rest,
      held: new Set(held),
      records: recordsOf(thing('a'), thing('b', { status: 'open', data: { k: 2 } }), thing('c', { status: 'done' }, 3)),
      firstResults: new Map([['old', old]]),
    }),
  );

const check = (property: (params: DecideParams<never>) => void) =>
  fc.assert(fc.property(setting, property), { numRuns: 300 });

test('results stand in the order of the items, one for each', () => {
  check((params) => {
    const { results } = decide(params);
    expect(results.map((one) => one.index)).toEqual(params.items.map((_, offset) => params.firstIndex + offset));
    for (const [offset, result] of results.entries()) {
      const item = params.items[offset] as Item;
      expect(result.ref).toBe(item.ref);
      if (!result.replayed) expect(result.id).toBe(item.id);
      expect(result.error === undefined).toBe(result.status === 'succeeded');
    }
  });
});

test('the writes are the changes, one after the other', () => {
  check((params) => {
    const { changes, writes } = decide(params);
    const folded = new Map<string, JsonObject>();
    for (const change of changes) {
      const before = folded.get(change.id) ?? params.records.get(change.id)?.fields;
      folded.set(change.id, { ...before, ...change.after });
    }
    expect(new Map([...writes].map(([id, state]) => [id, state.fields]))).toEqual(folded);
  });
});

test('each change starts where the one before ended, and raises the version by one', () => {
  check((params) => {
    const { changes, results } = decide(params);
    const states = new Map<string, Pick<RecordState, 'version' | 'fields'>>(params.records);
    for (const { id, version, index, before, after } of changes) {
      const state = states.get(id);
      expect(version).toBe((state?.version ?? 0) + 1);
      if (before === null) expect(state).toBeUndefined();
      else for (const name of Object.keys(before)) expect(before[name]).toEqual(state?.fields[name]);
      if (before !== null) expect(before).not.toEqual(after);
      expect(results[index - params.firstIndex]).toMatchObject({ id, version, changed: true });
      states.set(id, { version, fields: { ...state?.fields, ...after } });
    }
    expect(changes.length).toBe(results.filter((one) => one.changed && !one.replayed).length);
  });
});

test('no more items fail than maxErrors allows', () => {
  check((params) => {
    const failures = decide(params).results.filter((one) => one.status === 'failed').length;
    expect(failures).toBeLessThanOrEqual(params.failuresAllowed);
  });
});

test('two halves, the second seeing what the first wrote, decide as the whole does', () => {
  check((params) => {
    const whole = decide(params);
    for (let cut = 0; cut <= params.items.length; cut++) expect(decideInTwo(params, cut)).toEqual(whole);
  });
});

function decideInTwo(params: DecideParams<never>, cut: number): Decision {
  const first = decide({ ...params, items: params.items.slice(0, cut) });
  const firstResults = new Map(params.firstResults);
  for (const [offset, result] of first.results.entries()) {
    const key = params.items[offset]?.idempotencyKey;
    if (key !== undefined && result.status === 'succeeded' && !result.replayed) firstResults.set(key, result);
  }
  const second = decide({
    ...params,
    items: params.items.slice(cut),
    firstIndex: params.firstIndex + cut,
    records: new Map([...params.records, ...first.writes]),
    firstResults,
    failuresAllowed: params.failuresAllowed - first.results.filter((one) => one.status === 'failed').length,
  });
  return {
    results: [...first.results, ...second.results],
    changes: [...first.changes, ...second.changes],
    writes: new Map([...first.writes, ...second.writes]),
  };
}

test('nothing that was passed in is changed, and the same again decides the same', () => {
  check((params) => {
    const { collection: _, ...input } = params;
    const before = structuredClone(input);
    const first = decide(params);
    const second = decide(params);
    expect(input).toEqual(before);
    expect(second).toEqual(first);
  });
});

test('what is read of records is all that the decision looks at', () => {
  const check: CollectionInput<never, unknown>['check'] = ({ before, after }) =>
    after.fields.note === 'n' && before?.fields.count === 1
      ? { code: 'validation_failed', message: 'Not that.', field: 'note' }
      : undefined;
  const collection = defineThings({ check, rulesRead: ['note', 'count'] });
  // why few, and few fields: what no item names is what may be missed
  const one = fc.record(
    {
      id: fc.constantFrom('a', 'b', 'c'),
      fields: fc.constantFrom<JsonObject>({ title: 'x' }, { data: { k: 1 } }, { status: 'open' }, { note: 'n' }),
      expect: fc.constantFrom<JsonObject>({ title: 'thing a' }, { status: 'open', title: 'thing b' }, { kind: 'k' }),
    },
    { requiredKeys: ['id', 'fields'] },
  ) as fc.Arbitrary<Item>;
  const records = recordsOf(
    thing('a', { note: 'n' }),
    thing('b', { status: 'open', data: { k: 2 }, count: 2 }),
    thing('c', { status: 'done', kind: 'k', note: 'n', count: 3 }, 3),
  );
  fc.assert(
    fc.property(fc.array(one, { maxLength: 2 }), fc.boolean(), (items, preview) => {
      const params = paramsOf(items, { collection, preview, records });
      const read = fieldsRead(params);
      const pruned = [...records].map(([id, record]): [string, RecordState] => {
        const fields = Object.fromEntries(Object.entries(record.fields).filter(([name]) => read?.has(name)));
        return [id, { ...record, fields }];
      });
      const { results, changes } = decide(params);
      expect(decide({ ...params, records: new Map(pruned) })).toMatchObject({ results, changes });
    }),
    { numRuns: 500 },
  );
});
