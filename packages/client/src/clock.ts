/** Time and chance, as the client uses them; tests bring their own. */
export interface Clock {
  /** Milliseconds; only differences count. */
  now(): number;
  /** From 0 to below 1. */
  random(): number;
  /** Resolves after so many milliseconds; rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back after so many milliseconds, unless it is cancelled before by the function that it gives back. */
  after(ms: number, callback: () => void): () => void;
}

/** The longest that a timer can run: 2^31 - 1 ms. */
const longestTimer = 2_147_483_647;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const aborted = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', aborted);
          resolve();
        },
        Math.min(ms, longestTimer),
      );
      signal?.addEventListener('abort', aborted, { once: true });
    }),
  after: (ms, callback) => {
    if (ms > longestTimer) return () => {};
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** A time before a try is made again: random up to a bound that doubles with each, so that clients do not come back together. */
export function backOffMs(clock: Clock, attempt: number, { first, most }: { first: number; most: number }): number {
  return clock.random() * Math.min(first * 2 ** attempt, most);
}

/** Aborts its signal when nothing has happened for a time. */
export class Watchdog {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #controller = new AbortController();
  #last: number;
  #resting = false;
  #cancel: () => void;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
    this.#last = clock.now();
    this.#cancel = clock.after(ms, this.#look);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something has happened: the time begins anew. */
  readonly touch = (): void => {
    this.#last = this.#clock.now();
    this.#resting = false;
  };

  /** Nothing is expected to happen until the next touch. */
  readonly rest = (): void => {
    this.#resting = true;
  };

  stop(): void {
    this.#cancel();
  }

  readonly #look = (): void => {
    const left = this.#resting ? this.#ms : this.#last + this.#ms - this.#clock.now();
    if (left <= 0) this.#controller.abort();
    else this.#cancel = this.#clock.after(left, this.#look);
  };
}
