import { describe, expect, it } from 'vitest';
import { ApiError } from '../src/http/problems.ts';
import { chooseMediaType } from '../src/routes/accept.ts';
import { parseIdempotencyKey } from '../src/routes/idempotency.ts';
import { isKnownToClient, versionsAllowed } from '../src/routes/preconditions.ts';
import { parsePrefer, preferenceApplied } from '../src/routes/prefer.ts';

describe('Prefer', () => {
  const nothing = { respondAsync: false, wait: undefined, return: undefined };

  it.each([
    ['respond-async', { ...nothing, respondAsync: true }],
    ['respond-async, wait=10', { ...nothing, respondAsync: true, wait: 10 }],
    ['wait="10"', { ...nothing, wait: 10 }],
    ['Wait = 5 , RETURN=minimal', { ...nothing, wait: 5, return: 'minimal' }],
    ['return=representation; foo=bar, respond-async;x', { ...nothing, respondAsync: true, return: 'representation' }],
    ['wait=1, wait=2', { ...nothing, wait: 1 }],
    ['wait=3600', { ...nothing, wait: 60 }],
    ['foo, bar=1, handling=lenient', nothing],
    ['wait=-1, wait', nothing],
    ['wait=abc, return=everything', nothing],
    ['=, ,;;,"', nothing],
    ['foo="a, respond-async", wait=2', { ...nothing, wait: 2 }],
    ['foo; respond-async', nothing],
    [`foo="${'\\"'.repeat(8_000)}`, nothing],
  ])('reads %s', (header, expected) => {
    expect(parsePrefer(header)).toEqual(expected);
  });

  it('reads several header lines as one list', () => {
    expect(parsePrefer(['respond-async', 'wait=3'])).toEqual({ respondAsync: true, wait: 3, return: undefined });
  });

  it('echoes what was taken into account, and nothing when nothing was', () => {
    expect(preferenceApplied({ respondAsync: true, wait: 3, return: 'minimal' })).toBe(
      'respond-async, wait=3, return=minimal',
    );
    expect(preferenceApplied({ respondAsync: false, wait: undefined })).toBeUndefined();
  });
});

describe('Idempotency-Key', () => {
  it.each([
    ['"8e03978e-40d5-43e8-bc93-6894a57f9324"', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ['8e03978e-40d5-43e8-bc93-6894a57f9324', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ['  abc ', 'abc'],
    ['"with \\"quotes\\" and space"', 'with "quotes" and space'],
    ['"abc";v=1', 'abc'],
    ['x'.repeat(255), 'x'.repeat(255)],
  ])('reads %s', (header, expected) => {
    expect(parseIdempotencyKey(header, 255)).toBe(expected);
  });

  it.each([
    '',
    '""',
    '"open',
    'a b',
    'a,b',
    '"a" b',
    'x'.repeat(256),
    `"${'x'.repeat(256)}"`,
    'sch\u00fcn',
    '"a", "b"',
  ])('refuses %s', (header) => {
    expect(() => parseIdempotencyKey(header, 255)).toThrow(
      expect.objectContaining({ code: 'idempotency_key_invalid' }),
    );
  });
});

describe('If-None-Match', () => {
  it.each([
    ['"v3"', true],
    ['W/"v3"', true],
    ['"v1", W/"v3"', true],
    ['"v1" ,, "v3" ,', true],
    ['*', true],
    ['"v1", "v2"', false],
    ['"V3"', false],
  ])('%s against "v3": %s', (header, expected) => {
    expect(isKnownToClient(header, '"v3"')).toBe(expected);
  });

  it('knows nothing without the header', () => {
    expect(isKnownToClient(undefined, '"v3"')).toBe(false);
  });

  it.each(['v3', '"v3', '"a" "b"', 'W/v3', ',', `"a",${' '.repeat(10_000)}x`])('refuses %s', (header) => {
    expect(() => isKnownToClient(header, '"v3"')).toThrow(ApiError);
  });
});

describe('If-Match', () => {
  it.each([
    [undefined, undefined],
    ['*', undefined],
    ['"v3"', [3]],
    ['"v3", "v12"', [3, 12]],
    ['W/"v3"', []],
    ['"abc", "v", "v01", "v-1"', []],
  ])('%s allows %s', (header, expected) => {
    expect(versionsAllowed(header)).toEqual(expected);
  });
});

describe('Accept', () => {
  const types = ['application/json', 'application/x-ndjson', 'text/csv'] as const;
  it.each([
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['text/csv', 'text/csv'],
    ['TEXT/*', 'text/csv'],
    ['application/json;q=0.5, text/csv', 'text/csv'],
    ['text/html, application/xhtml+xml, */*;q=0.8', 'application/json'],
    ['application/json;q=0, */*', 'application/x-ndjson'],
    ['text/csv;q=0.5, application/x-ndjson;q=0.9', 'application/x-ndjson'],
  ])('%s chooses %s', (accept, expected) => {
    expect(chooseMediaType(accept, types)).toBe(expected);
  });

  it.each(['text/html', 'text/csv;q=0', 'nonsense'])('%s is not acceptable', (accept) => {
    expect(() => chooseMediaType(accept, types)).toThrow(expect.objectContaining({ code: 'not_acceptable' }));
  });
});
