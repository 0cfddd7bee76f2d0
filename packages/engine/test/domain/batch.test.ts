import { describe, expect, test } from 'vitest';
import { type BatchOperation, defaultLimits, parseBatch, parseOptions } from '../../src/domain/batch.ts';
import { RequestError } from '../../src/domain/codes.ts';
import type { Json } from '../../src/domain/json.ts';
import { things } from './things.ts';

const limits = { ...defaultLimits, bodyItems: 30, itemBytes: 100 };

function parse(body: Json, { operation = 'update' as BatchOperation, bodyBytes = 10 } = {}) {
  let made = 0;
  return parseBatch({ collection: things, operation, body, bodyBytes, limits, newId: () => `made ${++made}` });
}
function itemsOf(body: Json, rest?: Parameters<typeof parse>[1]) {
  const { content } = parse(body, rest);
  return content.kind === 'items' ? content.items : undefined;
}
function refusal(work: () => unknown): { code: string; pointers: (string | undefined)[]; error: RequestError } {
  try {
    work();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return { code: error.code, pointers: error.details.errors?.map((one) => one.pointer) ?? [], error };
  }
  throw new Error('It was accepted.');
}

describe('accepted shapes', () => {
  const flat = { thingId: 'a', title: 'T' };
  const item = { id: 'a', fields: { title: 'T' } };
  test.each<[string, Json]>([
    ['a bare array', [flat]],
    ['updates', { updates: [flat] }],
    ['items, flat', { items: [{ id: 'a', title: 'T' }] }],
    ['items, wrapped', { items: [item] }],
    ['wrapped with the public name of the id', { items: [{ thingId: 'a', fields: { title: 'T' } }] }],
    ['both names of the id, the same', { items: [{ thingId: 'a', id: 'a', fields: { title: 'T' } }] }],
  ])('%s', (_, body) => {
    expect(itemsOf(body)).toEqual([item]);
  });

  test('everything an item may carry, in both forms', () => {
    const own = { version: 3, ref: 'line 1', idempotencyKey: 'k' };
    expect(itemsOf([{ ...flat, ...own }])).toEqual([{ ...item, ...own }]);
    expect(itemsOf({ items: [{ ...item, ...own }] })).toEqual([{ ...item, ...own }]);
  });

  test('an id beside the public one is a field like any other, so that it is refused as such', () => {
    expect(itemsOf([{ ...flat, id: 'x' }])).toEqual([{ id: 'a', fields: { title: 'T', id: 'x' } }]);
  });

  test('a field named __proto__ stays a field, so that it is refused as such', () => {
    const [parsed] = itemsOf(JSON.parse('[{"thingId":"a","__proto__":{"status":"open"}}]')) ?? [];
    expect(Object.keys(parsed?.fields ?? {})).toEqual(['__proto__']);
    expect(parsed?.fields.status).toBeUndefined();
  });

  test('a selection', () => {
    expect(parse({ where: { status: 'new' }, fields: { count: 2 }, expectedCount: 3 }).content).toEqual({
      kind: 'selection',
      where: { status: 'new' },
      fields: { count: 2 },
      expectedCount: 3,
    });
    expect(parse({ where: {}, fields: {} }).content).toMatchObject({ expectedCount: undefined });
  });

  test('creations without an id get one', () => {
    expect(
      itemsOf([{ title: 'T' }, { thingId: 'n' }, { fields: {} }], { operation: 'create' })?.map((one) => one.id),
    ).toEqual(['made 1', 'n', 'made 2']);
  });

  test('options beside the items', () => {
    expect(parse({ items: [item], options: { dryRun: true } }).options.dryRun).toBe(true);
    expect(parse([item]).options).toEqual(parseOptions(undefined, limits));
  });

  test('text of exactly the greatest length', () => {
    const text = 'x'.repeat(255);
    expect(itemsOf([{ id: text, ref: text, idempotencyKey: text }])).toHaveLength(1);
  });
});

describe('refused as malformed_body, at the pointer', () => {
  test.each<[string, Json, string]>([
    ['null', null, ''],
    ['text', 'x', ''],
    ['no list', { options: {} }, ''],
    ['two lists', { items: [], updates: [] }, '/updates'],
    ['items and where', { items: [], where: {} }, '/where'],
    ['unknown member', { items: [{ id: 'a' }], itmes: [] }, '/itmes'],
    ['fields beside items', { items: [{ id: 'a' }], fields: {} }, '/fields'],
    ['items no array', { items: {} }, '/items'],
    ['options no object', { items: [{ id: 'a' }], options: [] }, '/options'],
    ['item no object', [{ id: 'a' }, 'b'], '/1'],
    ['item an array', { updates: [[]] }, '/updates/0'],
    ['no id', [{ title: 'T' }], '/0'],
    ['id a number', [{ id: 7 }], '/0/id'],
    ['id null', [{ thingId: null }], '/0/thingId'],
    ['id empty', [{ thingId: '' }], '/0/thingId'],
    ['id too long', [{ id: 'x'.repeat(256) }], '/0/id'],
    ['two ids that differ', { items: [{ id: 'a', thingId: 'b', fields: {} }] }, '/items/0/id'],
    ['fields no object', [{ id: 'a', fields: [] }], '/0/fields'],
    ['member beside fields', [{ id: 'a', fields: {}, 'ti/tle': 'T' }], '/0/ti~1tle'],
    ['version text', [{ id: 'a', version: '1' }], '/0/version'],
    ['version null', [{ id: 'a', version: null }], '/0/version'],
    ['version negative', [{ id: 'a', version: -1 }], '/0/version'],
    ['version fraction', [{ id: 'a', version: 1.5 }], '/0/version'],
    ['ref empty', [{ id: 'a', ref: '' }], '/0/ref'],
    ['ref number', [{ id: 'a', ref: 5 }], '/0/ref'],
    ['ref too long', [{ id: 'a', ref: 'x'.repeat(256) }], '/0/ref'],
    ['key empty', [{ id: 'a', idempotencyKey: '' }], '/0/idempotencyKey'],
    ['where no object', { where: 'x', fields: {} }, '/where'],
    ['where without fields', { where: {} }, '/fields'],
    ['expectedCount text', { where: {}, fields: {}, expectedCount: '3' }, '/expectedCount'],
    ['expectedCount negative', { where: {}, fields: {}, expectedCount: -1 }, '/expectedCount'],
    ['unknown beside where', { where: {}, fields: {}, limit: 3 }, '/limit'],
  ])('%s', (_, body, pointer) => {
    const { code, pointers } = refusal(() => parse(body));
    expect([code, pointers]).toEqual(['malformed_body', [pointer]]);
  });

  test('creations: a version, a selection', () => {
    const create = { operation: 'create' } as const;
    expect(refusal(() => parse([{ id: 'a', version: 1 }], create)).pointers).toEqual(['/0/version']);
    expect(refusal(() => parse({ where: {}, fields: {} }, create)).pointers).toEqual(['/where']);
  });

  test('every fault is told, up to a number', () => {
    const { pointers, error } = refusal(() => parse([{ id: 1, version: 'x', ref: 0 }, 'y']));
    expect(pointers).toEqual(['/0/id', '/0/version', '/0/ref', '/1']);
    expect(error.message).toContain('and 3 more');
    expect(refusal(() => parse(Array(30).fill(0))).pointers).toHaveLength(20);
  });
});

describe('sizes', () => {
  test('no items: batch_empty', () => {
    expect(refusal(() => parse([]))).toMatchObject({ code: 'batch_empty', pointers: [''] });
    expect(refusal(() => parse({ updates: [] }))).toMatchObject({ code: 'batch_empty', pointers: ['/updates'] });
  });
  test('too many items: batch_too_large with limit and actual', () => {
    expect(parse(Array(30).fill({ id: 'a' })).content).toBeTruthy();
    const { code, error } = refusal(() => parse(Array(31).fill({ id: 'a' })));
    expect([code, error.details.limit, error.details.actual]).toEqual(['batch_too_large', 30, 31]);
  });
  test('too large an item, counted in bytes', () => {
    const item = { id: 'a', fields: { title: 'é'.repeat(40) } };
    const { code, pointers, error } = refusal(() => parse([{ id: 'b' }, item], { bodyBytes: 5_000 }));
    expect([code, pointers, error.details.limit]).toEqual(['batch_too_large', ['/1'], 100]);
    expect(error.details.actual).toBe(Buffer.byteLength(JSON.stringify(item)));
  });
});

describe('options', () => {
  const options = (input: Json) => parseOptions(input, limits);
  test('have defaults', () => {
    expect(options({})).toEqual({
      mode: 'auto',
      waitForCompletion: undefined,
      returnJobId: true,
      dryRun: false,
      atomic: false,
      maxErrors: undefined,
      onDeadline: 'return',
      return: undefined,
      priority: 'normal',
      label: undefined,
    });
  });
  test('are all taken', () => {
    const all = {
      mode: 'async',
      waitForCompletion: true,
      returnJobId: false,
      dryRun: true,
      atomic: true,
      maxErrors: 2_147_483_647,
      onDeadline: 'continue',
      return: 'minimal',
      priority: 'high',
      label: 'x',
    };
    expect(options(all)).toEqual(all);
  });
  test.each<[string, Json]>([
    ['mode', 'fast'],
    ['mode', null],
    ['waitForCompletion', 'true'],
    ['returnJobId', 1],
    ['dryRun', null],
    ['atomic', 'no'],
    ['maxErrors', 0],
    ['maxErrors', 1.5],
    ['maxErrors', '3'],
    ['maxErrors', 2_147_483_648],
    ['onDeadline', 'wait'],
    ['return', 'full'],
    ['priority', 1],
    ['label', ''],
    ['label', 'x'.repeat(256)],
    ['label', 7],
  ])('%s: %j is refused', (name, value) => {
    expect(refusal(() => options({ [name]: value }))).toMatchObject({
      code: 'malformed_body',
      pointers: [`/options/${name}`],
    });
  });
  test.each(['dry_run', 'toString', '__proto__'])('an unknown one is named: %s', (name) => {
    const { code, pointers, error } = refusal(() => options(JSON.parse(`{"${name}":1}`)));
    expect([code, pointers]).toEqual(['unknown_option', [`/options/${name}`]]);
    expect(error.message).toContain(`"${name}"`);
  });
  test('several wrong values are told together, at the pointer given', () => {
    const { pointers } = refusal(() => parseOptions({ mode: 1, atomic: 1 }, limits, ''));
    expect(pointers).toEqual(['/mode', '/atomic']);
  });
});
