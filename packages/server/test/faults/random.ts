/** Chance that can be had again: the same seed makes the same choices. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, not including, 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `least` to `most`. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** So many of them, each at most once, in any order. */
  sample<Value>(values: readonly Value[], count: number): Value[] {
    const left = [...values];
    for (let at = 0; at < count; at++) {
      const other = this.integer(at, left.length - 1);
      [left[at], left[other]] = [left[other] as Value, left[at] as Value];
    }
    return left.slice(0, count);
  }
}
