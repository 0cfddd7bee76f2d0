/** Whole numbers from 0, kept as ranges: small as long as nearly all of them come in order. */
export class NumberSet {
  /** Ascending, not touching: [first, last] each. */
  readonly #ranges: [number, number][] = [];

  has(value: number): boolean {
    const range = this.#ranges[this.#placeOf(value)];
    return range !== undefined && range[0] <= value;
  }

  add(value: number): void {
    const place = this.#placeOf(value);
    const next = this.#ranges[place];
    if (next && next[0] <= value) return;
    const previous = this.#ranges[place - 1];
    const touchesPrevious = previous?.[1] === value - 1;
    const touchesNext = next?.[0] === value + 1;
    if (touchesPrevious && touchesNext) {
      previous[1] = next[1];
      this.#ranges.splice(place, 1);
    } else if (touchesPrevious) previous[1] = value;
    else if (touchesNext) next[0] = value;
    else this.#ranges.splice(place, 0, [value, value]);
  }

  /** The place of the first range that ends at or behind the value. */
  #placeOf(value: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ranges[middle] as [number, number])[1] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** `0-57.59`, and back with `parse`. */
  toString(): string {
    return this.#ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join('.');
  }

  /** Undefined for what `toString` does not write. */
  static parse(text: string): NumberSet | undefined {
    const set = new NumberSet();
    if (text === '') return set;
    for (const part of text.split('.')) {
      const [, first, last = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(part) ?? [];
      if (first === undefined) return undefined;
      const previous = set.#ranges.at(-1);
      const range: [number, number] = [Number(first), Number(last)];
      if (range[1] < range[0] || (previous && range[0] <= previous[1] + 1)) return undefined;
      set.#ranges.push(range);
    }
    return set;
  }
}
