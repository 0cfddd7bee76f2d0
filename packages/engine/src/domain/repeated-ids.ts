import { hashId } from './id-hashes.ts';

const exactIds = 10_000;
const hashes = 24;
const bitsPerId = 44;
/** The first filter has 1 MiB, each further one twice the size of the one before. */
const firstBits = 2 ** 23;

interface Filter {
  words: Uint32Array;
  /** One less than the number of bits, which is a power of two. */
  mask: number;
  room: number;
}

/**
 * Notices whether any id was seen before, with bounded memory: exactly for the first ids, then by Bloom filters. It never misses
 * a repetition; over 5,000,000 different ids it sees one that is not there in about one of seventy streams, which costs that job
 * only that its chunks run in order. Takes 7 MiB for 1,000,000 ids and 31 MiB for 5,000,000.
 */
export class RepeatedIds {
  #found = false;
  #exact: Set<string> | undefined = new Set();
  #filters: Filter[] = [];

  /** Whether an id was added twice. */
  get found(): boolean {
    return this.#found;
  }

  add(id: string): void {
    if (this.#found) return;
    if (this.#exact) this.#addExactly(this.#exact, id);
    else if (this.#addToFilters(id)) this.#found = true;
    if (!this.#found) return;
    this.#exact = undefined;
    this.#filters = [];
  }

  #addExactly(exact: Set<string>, id: string): void {
    if (exact.has(id)) this.#found = true;
    exact.add(id);
    if (exact.size < exactIds) return;
    for (const one of exact) this.#addToFilters(one);
    this.#exact = undefined;
  }

  /** Gives back whether a filter holds the id already. */
  #addToFilters(id: string): boolean {
    const [first, second] = hashId(id);
    if (this.#filters.some((filter) => touch(filter, first, second, false))) return true;
    let last = this.#filters.at(-1);
    if (!last || last.room === 0) {
      const bits = last ? (last.mask + 1) * 2 : firstBits;
      last = { words: new Uint32Array(bits / 32), mask: bits - 1, room: Math.floor(bits / bitsPerId) };
      this.#filters.push(last);
    }
    last.room -= 1;
    touch(last, first, second, true);
    return false;
  }
}

/** Enhanced double hashing (Dillinger and Manolios, 2004). Gives back whether all bits were set. */
function touch({ words, mask }: Filter, first: number, second: number, set: boolean): boolean {
  let place = first;
  let step = second;
  for (let n = 0; n < hashes; n++) {
    const at = (place & mask) >>> 5;
    const bit = 1 << (place & 31);
    if (set) words[at] = (words[at] as number) | bit;
    else if (((words[at] as number) & bit) === 0) return false;
    place = (place + step) | 0;
    step = (step + n + 1) | 0;
  }
  return true;
}
