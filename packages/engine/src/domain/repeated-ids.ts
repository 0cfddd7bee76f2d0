import { hashId } from './id-hashes.ts';

const exactIds = 10_000;
/** The first table has 1 MiB, each further one twice the size of the one before. */
const firstSlots = 2 ** 18;
const fullAt = 0.62;

/** An open-addressing hash table: where an id's search begins is told by one hash, and what stands there is the other. */
interface Table {
  slots: Uint32Array;
  room: number;
}

/**
 * Notices whether any id was seen before, with bounded memory: exactly for the first ids, then by their hashes. It never misses
 * a repetition; over 5,000,000 different ids it sees one that is not there in about one of eighty streams (reckoned), which costs that job
 * only that its chunks run in order. Takes 7 MiB for 1,000,000 ids and 31 MiB for 5,000,000.
 */
export class RepeatedIds {
  #found = false;
  #exact: Set<string> | undefined = new Set();
  #tables: Table[] = [];

  /** Whether an id was added twice. */
  get found(): boolean {
    return this.#found;
  }

  add(id: string): void {
    if (this.#found) return;
    if (this.#exact) this.#addExactly(this.#exact, id);
    else if (this.#addHashes(id)) this.#found = true;
    if (!this.#found) return;
    this.#exact = undefined;
    this.#tables = [];
  }

  #addExactly(exact: Set<string>, id: string): void {
    if (exact.has(id)) this.#found = true;
    exact.add(id);
    if (exact.size < exactIds) return;
    for (const one of exact) this.#addHashes(one);
    this.#exact = undefined;
  }

  /** Gives back whether a table holds the hashes already. */
  #addHashes(id: string): boolean {
    const [first, second] = hashId(id);
    const mark = second >>> 0 || 1;
    let last = this.#tables.at(-1);
    if (!last || last.room === 0) last = this.#addTable();
    for (const table of this.#tables) {
      const { slots } = table;
      const mask = slots.length - 1;
      let place = first & mask;
      while (slots[place] !== 0) {
        if (slots[place] === mark) return true;
        place = (place + 1) & mask;
      }
      if (table === last) slots[place] = mark;
    }
    last.room -= 1;
    return false;
  }

  #addTable(): Table {
    const size = firstSlots * 2 ** this.#tables.length;
    const table = { slots: new Uint32Array(size), room: Math.floor(size * fullAt) };
    this.#tables.push(table);
    return table;
  }
}
