import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJsonBody } from '../src/http/json-body.ts';
import { findSyntaxError } from '../src/http/json-syntax.ts';
import { ApiError } from '../src/http/problems.ts';

const parse = (body: string | Uint8Array) => parseJsonBody(Buffer.from(body as string));

function refusal(body: string | Uint8Array): ApiError {
  try {
    parse(body);
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error('The body was accepted.');
}

describe('a JSON body', () => {
  it('is read as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), (text) => {
        fc.pre(
          !text.includes('__proto__') && !text.includes('\\u0000') && JSON.stringify(JSON.parse(text)).isWellFormed(),
        );
        fc.pre(!/\\ud[89a-f]/i.test(text));
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('may start with a byte order mark', () => {
    expect(parse('\uFEFF{"a":1}')).toEqual({ a: 1 });
  });

  it.each([
    ['', 'empty'],
    ['   ', 'ends too early'],
    ['{"a":1', 'line 1, column 7'],
    ['{\n  "a": undefined\n}', '"u" cannot stand there (line 2, column 8)'],
    ['[1,]', 'line 1, column 4'],
    ['{"a":1}}', 'line 1, column 8'],
    ["{'a':1}", 'line 1, column 2'],
    ['"abc', 'ends too early'],
    ['nope', 'line 1, column 1'],
    ['[1 2]', 'line 1, column 4'],
  ])('that is broken is refused with the place: %j', (body, words) => {
    const error = refusal(body);
    expect(error.code).toBe('malformed_body');
    expect(error.message).toContain(words);
  });

  it.each([
    ['{"a":1,"a":2}', '/a'],
    ['[{"x":[1,{"a":1,"\\u0061":2}]}]', '/0/x/1/a'],
    ['{"a/b":{"~":1,"~":1}}', '/a~1b/~0'],
    ['{"a":"\\":\\\\","b":{"a":1},"b":2}', '/b'],
  ])('with a member that stands twice is refused: %s', (body, pointer) => {
    expect(refusal(body).details.errors).toEqual([{ pointer, message: expect.stringContaining('twice') }]);
  });

  it.each([
    ['{"__proto__":{"admin":true}}', '/__proto__'],
    ['{"a":[{"__proto__":1}]}', '/a/0/__proto__'],
    ['{"a":"x\\u0000"}', '/a'],
    ['{"a":["ok","\\ud800"]}', '/a/1'],
    ['{"\\udc00":1}', '/\udc00'],
  ])('that could not be stored as it is, is refused with the place: %s', (body, pointer) => {
    const error = refusal(body);
    expect(error.code).toBe('malformed_body');
    expect(error.details.errors?.[0]?.pointer).toBe(pointer);
  });

  it('may be nested 32 levels deep, and no deeper', () => {
    expect(parse('['.repeat(32) + ']'.repeat(32))).toBeDefined();
    expect(refusal('['.repeat(33) + ']'.repeat(33)).details.limit).toBe(32);
    expect(refusal('['.repeat(1_000_000)).code).toBe('malformed_body');
  });

  it('must be UTF-8', () => {
    expect(refusal(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])).message).toContain('byte 2');
  });

  it('of 10 kB costs little more than JSON.parse', () => {
    const items = Array.from({ length: 100 }, (_, n) => ({
      id: `CASE-${n}`,
      fields: { status: 'Under Review', note: 'x'.repeat(40) },
    }));
    const body = Buffer.from(JSON.stringify({ items }));
    const time = () => {
      const start = performance.now();
      for (let round = 0; round < 50; round++) parseJsonBody(body);
      return (performance.now() - start) / 50;
    };
    time();
    expect(Math.min(time(), time(), time())).toBeLessThan(0.3);
  });
});

describe('the place of a syntax error', () => {
  it('is found in every text that JSON.parse refuses, and in no other', () => {
    const fragments = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '1',
      '-',
      '0.5e3',
      'true',
      'nul',
      'null',
      ' ',
      '"',
      '\\',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(fragments, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        let valid = true;
        try {
          JSON.parse(text);
        } catch {
          valid = false;
        }
        expect(findSyntaxError(text) === undefined).toBe(valid);
      }),
      { numRuns: 2_000 },
    );
  });
});
