/** Seconds from a failed attempt to the next, as Standard Webhooks 1.0 suggests: ten attempts over three days. */
export const retryDelays: readonly number[] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

const longestRetryAfter = 24 * 3_600;
const jitter = 0.2;

/** What an attempt came to: the receiver's answer, or why there was none. */
export interface AttemptOutcome {
  status: number | null;
  /** Why it failed, in words; null when it was received. */
  error: string | null;
  /** Seconds for which the receiver asked to be left alone. */
  retryAfter: number | undefined;
}

export type NextStep =
  | { kind: 'delivered' }
  | { kind: 'retry'; afterSeconds: number }
  /** `disable`: why the endpoint gets nothing more; `unlessReceived`: but for one that has received something since. */
  | { kind: 'give_up'; disable: string; unlessReceived: boolean };

/**
 * What follows on an attempt. `tries` counts it. A receiver's Retry-After lengthens the time to the next, by a day at most; 410 Gone
 * ends it at once.
 */
export function nextStep(
  { status, error, retryAfter = 0 }: AttemptOutcome,
  tries: number,
  { delays, random }: { delays: readonly number[]; random: () => number },
): NextStep {
  if (error === null) return { kind: 'delivered' };
  if (status === 410) {
    return { kind: 'give_up', disable: 'The receiver answered 410 Gone.', unlessReceived: false };
  }
  const delay = delays[tries - 1];
  if (delay === undefined) {
    const disable = `The last of ${tries} attempts at a delivery failed: ${error}`;
    return { kind: 'give_up', disable, unlessReceived: true };
  }
  const jittered = delay * (1 - jitter + 2 * jitter * random());
  return { kind: 'retry', afterSeconds: Math.max(jittered, Math.min(retryAfter, longestRetryAfter)) };
}

/** Seconds that a Retry-After header (RFC 9110: seconds, or a date) asks for; undefined where there is none that can be read. */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,10}$/.test(header)) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, (at - now) / 1_000);
}
