import { describe, expect, it } from 'vitest';
import { nextStep, parseRetryAfter, retryDelays } from '../../src/webhooks/retries.ts';

const failure = { status: 500, error: 'The receiver answered 500.', retryAfter: undefined };
const steady = { delays: retryDelays, random: () => 0.5 };

describe('what follows on an attempt', () => {
  it('is nothing, once it was received', () => {
    expect(nextStep({ status: 200, error: null, retryAfter: 60 }, 3, steady)).toEqual({ kind: 'delivered' });
  });

  it('is another one by the schedule, and after the last none', () => {
    const waits = retryDelays.map((_, index) => nextStep(failure, index + 1, steady));
    expect(waits).toEqual(retryDelays.map((afterSeconds) => ({ kind: 'retry', afterSeconds })));
    expect(nextStep(failure, retryDelays.length + 1, steady)).toEqual({
      kind: 'give_up',
      disable: 'The last of 10 attempts at a delivery failed: The receiver answered 500.',
      unlessReceived: true,
    });
  });

  it('is spread by a fifth either way', () => {
    const at = (random: number) => nextStep(failure, 2, { delays: retryDelays, random: () => random });
    expect(at(0)).toEqual({ kind: 'retry', afterSeconds: 240 });
    expect(at(0.999_999_9)).toMatchObject({ afterSeconds: expect.closeTo(360, 3) });
  });

  it('waits as long as the receiver asks for, by a day at most', () => {
    const asked = (retryAfter: number) => nextStep({ ...failure, status: 429, retryAfter }, 1, steady);
    expect(asked(1)).toEqual({ kind: 'retry', afterSeconds: 5 });
    expect(asked(120)).toEqual({ kind: 'retry', afterSeconds: 120 });
    expect(asked(1e9)).toEqual({ kind: 'retry', afterSeconds: 86_400 });
  });

  it('is the end at 410', () => {
    const gone = { ...failure, status: 410 };
    expect(nextStep(gone, 1, steady)).toMatchObject({ kind: 'give_up', unlessReceived: false });
  });
});

it('Retry-After is read as seconds or as a date', () => {
  const now = Date.parse('2026-05-04T09:00:00Z');
  expect(parseRetryAfter('17', now)).toBe(17);
  expect(parseRetryAfter('Mon, 04 May 2026 09:01:00 GMT', now)).toBe(60);
  expect(parseRetryAfter('Mon, 04 May 2026 08:00:00 GMT', now)).toBe(0);
  for (const header of [undefined, '', 'soon', '-1']) expect(parseRetryAfter(header, now) ?? 0).toBe(0);
});
