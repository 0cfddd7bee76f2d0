import type { RecordState } from '../domain/collection.ts';
import type { Database } from '../storage/database.ts';
import { asRequestError } from '../storage/errors.ts';
import type { MountedCollection } from './mounts.ts';

interface Waiting {
  mount: MountedCollection;
  tenantId: string;
  ids: Set<string>;
  reads: { id: string; resolve: (record: RecordState | undefined) => void; reject: (error: unknown) => void }[];
}

/**
 * Turns reads of single records that arrive together into one query. Each is linearizable: the query that answers it starts
 * after it arrived, so it sees everything that was acknowledged before.
 */
export class CoalescingReader {
  readonly #db: Database;
  readonly #waiting = new Map<string, Waiting>();
  readonly #maxInFlight: number;
  #inFlight = 0;
  #scheduled = false;

  /** While `maxInFlight` queries run, further reads gather for the next one. */
  constructor(db: Database, maxInFlight = 2) {
    this.#db = db;
    this.#maxInFlight = maxInFlight;
  }

  read(mount: MountedCollection, tenantId: string, id: string): Promise<RecordState | undefined> {
    return new Promise((resolve, reject) => {
      const key = `${mount.collection.name}\n${tenantId}`;
      let waiting = this.#waiting.get(key);
      if (!waiting) {
        waiting = { mount, tenantId, ids: new Set(), reads: [] };
        this.#waiting.set(key, waiting);
      }
      waiting.ids.add(id);
      waiting.reads.push({ id, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#inFlight >= this.#maxInFlight || this.#waiting.size === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      for (const [key, waiting] of this.#waiting) {
        if (this.#inFlight >= this.#maxInFlight) break;
        this.#waiting.delete(key);
        void this.#run(waiting);
      }
    });
  }

  async #run({ mount, tenantId, ids, reads }: Waiting): Promise<void> {
    this.#inFlight += 1;
    try {
      const records = await mount.store.read(this.#db, tenantId, [...ids]);
      for (const { id, resolve } of reads) resolve(records.get(id));
    } catch (error) {
      const reason = asRequestError(error);
      for (const { reject } of reads) reject(reason);
    } finally {
      this.#inFlight -= 1;
      this.#schedule();
    }
  }
}
