import { v7 as uuidv7 } from 'uuid';
import { failedItem, type Item, type StreamedItem } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import { presentJobId } from '../domain/ids.ts';
import type { Json } from '../domain/json.ts';
import type { Incoming } from '../domain/queue.ts';
import { RepeatedIds } from '../domain/repeated-ids.ts';
import { chunkItems, insertChunk } from '../storage/chunk-store.ts';
import { findJob, insertJob, makeRunnable } from '../storage/job-store.ts';
import { claimKey, findUsedKey, hashToCome, storeKey, type TakenKey } from '../storage/key-store.ts';
import { raw } from '../storage/sql.ts';
import {
  completeUpload,
  extendUpload,
  failAbandonedUploads,
  failUpload,
  uploadLeaseSeconds,
} from '../storage/upload-store.ts';
import { tellEnd } from './effects.ts';
import type { StreamSubmission, SubmitOutcome } from './engine.ts';
import { findMount } from './mounts.ts';
import { keyInProgress, keyReused, newJob, type SubmitDeps } from './submit.ts';

type StreamDeps = Omit<SubmitDeps, 'onDecided'> & { uploads: Uploads };
type StreamOutcome = Extract<SubmitOutcome, { kind: 'job' }>;

/** Text of a chunk's items, in characters, above which it is closed though it has room for more items. */
const chunkCharacters = 4 * 1024 * 1024;

/** Chunks of an upload after which it looks again whether its items may wait. */
const checkEveryChunks = 10;

/** What an upload adds to the queue where its job and its items are counted already. */
const counted: Incoming = { jobs: 0, items: 0 };

/** Counts the uploads of this process, each of which needs memory. */
export class Uploads {
  readonly #most: number;
  #open = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Gives back the function that ends it. Throws `overloaded`. */
  begin(): () => void {
    if (this.#open >= this.#most) {
      const message = `The server is taking ${this.#open} streams at this moment; it takes ${this.#most} at a time. Nothing was taken. Send it again shortly.`;
      throw new RequestError('overloaded', message, { limit: this.#most, actual: this.#open + 1, retryAfter: 5 });
    }
    this.#open += 1;
    return () => {
      this.#open -= 1;
    };
  }
}

/** Takes items as they come and makes them a job; see `Engine.submitStream`. */
export async function submitStream(
  deps: StreamDeps,
  submission: StreamSubmission,
  source: AsyncIterable<StreamedItem | readonly StreamedItem[]>,
): Promise<StreamOutcome> {
  const { pool, limits, settings } = deps;
  const { tenantId, idempotency } = submission;
  findMount(deps.mounts, tenantId, submission.collection);
  await failAbandonedUploads(pool, { ttlSeconds: settings.jobTtlSeconds, onEnd: tellEnd(deps.tellEffect) });
  let taken = idempotency && (await findUsedKey(pool, tenantId, idempotency.key));
  if (taken?.state === 'in_progress') throw keyInProgress();
  const upload = new Upload(deps, submission);
  const end = taken ? () => {} : deps.uploads.begin();
  let received = 0;
  try {
    for await (const part of source) {
      for (const one of Array.isArray(part) ? (part as readonly StreamedItem[]) : [part as StreamedItem]) {
        received += 1;
        // why not stopped: only its end tells whether a repeated request is the same one
        if (taken) continue;
        if (received > limits.streamItems) throw tooLarge(limits.streamItems);
        if (received === 1) taken = await upload.start();
        if (taken) continue;
        const storing = upload.add('line' in one ? failedItem(one) : one);
        // why: to wait for nothing a million times takes as long as to store them
        if (storing) await storing;
      }
    }
    if (taken) return await replay(deps, submission, taken);
    if (received === 0) {
      throw new RequestError('batch_empty', 'The stream has no items; there is nothing to do. Send at least one item.');
    }
    return await upload.complete();
  } catch (error) {
    throw await upload.fail(error);
  } finally {
    end();
  }
}

function tooLarge(limit: number): RequestError {
  const message = `A stream may have ${limit} items; this one has more. Nothing was applied. Send it in parts.`;
  return new RequestError('batch_too_large', message, { limit });
}

async function replay(
  { pool }: StreamDeps,
  { tenantId, idempotency }: StreamSubmission,
  taken: TakenKey,
): Promise<StreamOutcome> {
  if (taken.state === 'in_progress') throw keyInProgress();
  if (taken.payloadHash !== idempotency?.payloadHash()) throw keyReused();
  const job = await findJob(pool, tenantId, taken.jobId);
  if (!job) throw keyReused();
  return { kind: 'job', job, replayed: true };
}

/** One upload: its job, the chunk being filled, and the one being stored. */
class Upload {
  readonly #deps: StreamDeps;
  readonly #submission: StreamSubmission;
  readonly #jobUuid = uuidv7();
  readonly #ids = new RepeatedIds();
  #heartbeat: NodeJS.Timeout | undefined;
  #started = false;
  #items: Item[] = [];
  #characters = 0;
  #total = 0;
  #chunks = 0;
  #storing: Promise<void> = Promise.resolve();

  constructor(deps: StreamDeps, submission: StreamSubmission) {
    this.#deps = deps;
    this.#submission = submission;
  }

  get #ofJob(): { tenantId: string; jobUuid: string } {
    return { tenantId: this.#submission.tenantId, jobUuid: this.#jobUuid };
  }

  /** Writes the job, not yet runnable, or gives back who has the key. */
  async start(): Promise<TakenKey | undefined> {
    const { pool, admission } = this.#deps;
    const { tenantId, options } = this.#submission;
    const key = this.#submission.idempotency?.key;
    const taken = await pool.transaction(async (tx) => {
      const claim = key === undefined ? undefined : await claimKey(tx, tenantId, key);
      if (claim && claim.state !== 'free') return claim;
      const first = { jobs: 1, items: 1 } as const;
      await admission.confirm(tx, tenantId, first, await admission.check(tx, tenantId, first));
      await Promise.all([
        insertJob(tx, {
          ...newJob(this.#deps, this.#submission, this.#jobUuid),
          status: 'pending',
          summary: { total: 0, succeeded: 0, failed: 0, notProcessed: 0 },
          atomic: false,
          synchronous: false,
          ordered: options.maxErrors !== undefined,
          representation: options.return === 'representation',
          ttlSeconds: uploadLeaseSeconds,
        }),
        this.#keepKey(tx, hashToCome),
        tx.commit(),
      ]);
      return undefined;
    });
    if (taken?.state === 'in_progress') throw keyInProgress();
    if (taken) return taken;
    this.#started = true;
    // why: a slow client may take longer for a chunk than the lease
    const beat = () => extendUpload(pool, this.#ofJob, 0).catch(() => undefined);
    this.#heartbeat = setInterval(beat, (uploadLeaseSeconds * 1000) / 5).unref();
    return undefined;
  }

  /** Gives back what has to be waited for before the next one, if anything. */
  add(item: Item): Promise<void> | undefined {
    if (!item.verdict) this.#ids.add(item.id);
    this.#items.push(item);
    this.#characters += charactersOf(item);
    return this.#items.length === chunkItems || this.#characters > chunkCharacters ? this.#store() : undefined;
  }

  /** Stores the chunk at hand while the next one is filled; waits for the one before. */
  async #store(): Promise<void> {
    await this.#storing;
    const items = this.#items;
    const chunk = { ...this.#ofJob, chunkNo: this.#chunks, firstIndex: this.#total, items };
    this.#items = [];
    this.#characters = 0;
    this.#chunks += 1;
    this.#total += items.length;
    const { pool, admission } = this.#deps;
    this.#storing = pool.transaction(async (tx) => {
      // why: nothing depends on it before the upload is complete, whose commit makes all commits before it durable too
      void tx.query(raw('set local synchronous_commit = off'));
      const [alive] = await Promise.all([
        extendUpload(tx, this.#ofJob, items.length),
        insertChunk(tx, chunk),
        chunk.chunkNo % checkEveryChunks === 0 && admission.check(tx, chunk.tenantId, counted),
      ]);
      if (!alive) throw endedElsewhere();
    });
    // why: it is awaited with the next chunk, which may be long in coming
    this.#storing.catch(() => undefined);
  }

  async complete(): Promise<StreamOutcome> {
    const { pool, settings, admission, meter } = this.#deps;
    const { tenantId, options, idempotency } = this.#submission;
    if (this.#items.length > 0) await this.#store();
    await this.#storing;
    const hash = idempotency?.payloadHash();
    const job = await pool.transaction(async (tx) => {
      const alive = await completeUpload(tx, {
        ...this.#ofJob,
        total: this.#total,
        ordered: this.#ids.found,
        ttlSeconds: settings.jobTtlSeconds,
      });
      if (!alive) throw (await extendUpload(tx, this.#ofJob, 0)) ? lostItems() : endedElsewhere();
      await admission.confirm(tx, tenantId, counted, await admission.check(tx, tenantId, counted));
      const [stored] = await Promise.all([
        findJob(tx, tenantId, presentJobId(this.#jobUuid)),
        makeRunnable(tx, tenantId, this.#jobUuid, options.priority),
        hash !== undefined && this.#keepKey(tx, hash),
        meter(tx, tenantId, { items: this.#total, single: false, dryRun: options.dryRun }),
        tx.commit(),
      ]);
      return stored;
    });
    clearInterval(this.#heartbeat);
    if (!job) throw endedElsewhere();
    return { kind: 'job', job, replayed: false };
  }

  /** Ends what was started, and gives back the error with the job that it is told by. */
  async fail(error: unknown): Promise<unknown> {
    clearInterval(this.#heartbeat);
    if (!this.#started) return error;
    await this.#storing.catch(() => undefined);
    const told: Json =
      error instanceof RequestError
        ? { code: error.code, message: error.message }
        : { code: 'internal', message: 'The upload could not be taken because of a fault in the server.' };
    // why not thrown: without a database the job stays as it is, until its lease has passed
    await failUpload(this.#deps.pool, {
      ...this.#ofJob,
      error: told,
      ttlSeconds: this.#deps.settings.jobTtlSeconds,
      onEnd: tellEnd(this.#deps.tellEffect),
    }).catch(() => undefined);
    if (!(error instanceof RequestError)) return error;
    const extra = { ...error.details.extra, jobId: presentJobId(this.#jobUuid) };
    return new RequestError(error.code, error.message, { ...error.details, extra });
  }

  async #keepKey(tx: Parameters<typeof storeKey>[0], payloadHash: string): Promise<void> {
    const { idempotency } = this.#submission;
    if (!idempotency) return;
    const ttlSeconds = this.#deps.settings.idempotencyTtlSeconds;
    await storeKey(tx, { ...this.#ofJob, key: idempotency.key, payloadHash, ttlSeconds });
  }
}

function endedElsewhere(): RequestError {
  return new RequestError(
    'job_conflict',
    'The job was ended while its items were being received. Nothing was applied.',
  );
}

function lostItems(): RequestError {
  const message =
    'The database was interrupted while the items were being received, and lost some. Nothing was applied. Send it again.';
  return new RequestError('database_unavailable', message, { retryAfter: 2 });
}

/** About how much text an item is; measuring it exactly would cost as much as storing it. */
function charactersOf({ id, fields }: Item): number {
  let characters = id.length + 64;
  for (const name in fields) {
    const value = fields[name];
    characters += name.length;
    if (typeof value === 'string') characters += value.length;
    else if (typeof value === 'object' && value !== null) characters += JSON.stringify(value).length;
  }
  return characters;
}
