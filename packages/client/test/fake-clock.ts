import type { Clock } from '@docket/client';

/** A clock that stands still, but while somebody sleeps: then it jumps to the end of the sleep and fires what is due until then. */
export class FakeClock implements Clock {
  readonly sleeps: number[] = [];
  /** What `random` gives. */
  chance = 0.5;
  #now = 0;
  readonly #timers = new Set<{ at: number; callback: () => void }>();

  now = (): number => this.#now;
  random = (): number => this.chance;

  sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    signal?.throwIfAborted();
    this.sleeps.push(ms);
    this.advance(ms);
    signal?.throwIfAborted();
  };

  after = (ms: number, callback: () => void): (() => void) => {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
  }
}
