import { describe, expect, it } from 'vitest';
import { compileDataSchema, SchemaRefusal } from '../src/collections/data-schema.ts';

describe('the JSON Schema of data', () => {
  it('says what is wrong and where', () => {
    const check = compileDataSchema({
      type: 'object',
      required: ['channel'],
      properties: { channel: { enum: ['mail', 'phone'] }, due: { type: 'string', format: 'date' } },
    });
    expect(check({ channel: 'mail', due: '2026-05-04' })).toBeUndefined();
    expect(check({})).toEqual({ pointer: '', message: "must have required property 'channel'" });
    expect(check({ channel: 'fax' })?.pointer).toBe('/channel');
    expect(check({ channel: 'mail', due: 'soon' })?.pointer).toBe('/due');
  });

  it('follows draft 2020-12, with references within itself', () => {
    const check = compileDataSchema({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: 'https://example.com/data',
      $defs: { pair: { prefixItems: [{ type: 'string' }, { type: 'number' }], items: false } },
      properties: { pair: { $ref: '#/$defs/pair' } },
      unevaluatedProperties: false,
    });
    expect(check({ pair: ['a', 1] })).toBeUndefined();
    expect(check({ pair: ['a', 1, 2] })?.pointer).toBe('/pair');
    expect(check({ other: 1 })).toBeDefined();
  });

  it('changes nothing in the data, whatever the schema says', () => {
    const data = { count: '1' };
    compileDataSchema({ properties: { count: { type: ['string', 'number'] }, more: { default: 1 } } })(data);
    expect(data).toEqual({ count: '1' });
  });

  it.each([
    [{ $ref: 'https://example.com/other.json' }, /https:\/\/example.com\/other.json, which is not in it/],
    [{ type: 'nonsense' }, /type/],
    [{ properties: { a: { pattern: '(' } } }, /./],
    [{ $async: true }, /\$async/],
    [{ description: 'x'.repeat(65_536) }, /65536 bytes/],
  ])('refuses %j', (schema, message) => {
    expect(() => compileDataSchema(schema)).toThrow(SchemaRefusal);
    expect(() => compileDataSchema(schema)).toThrow(message);
  });

  it('is not held by a pattern that backtracks, and gives the schema up after a few times', () => {
    const check = compileDataSchema({ properties: { text: { pattern: '^(a+)+$' } } });
    expect(check({ text: 'aaa' })).toBeUndefined();
    const started = performance.now();
    for (let times = 0; times < 100; times++) {
      expect(check({ text: `${'a'.repeat(60)}b` })?.message).toContain('too long to check');
    }
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('is not held by references that fan out', () => {
    const $defs: Record<string, object> = { d0: { type: 'string' } };
    for (let level = 1; level <= 40; level++) {
      $defs[`d${level}`] = { anyOf: [{ $ref: `#/$defs/d${level - 1}` }, { $ref: `#/$defs/d${level - 1}` }] };
    }
    const check = compileDataSchema({ $defs, properties: { value: { $ref: '#/$defs/d40' } } } as never);
    expect(check({ value: 1 })?.message).toContain('too long to check');
  });

  it('survives a reference in a circle', () => {
    const check = compileDataSchema({ $ref: '#' });
    expect(check({})?.message).toContain('too long to check');
  });
});
