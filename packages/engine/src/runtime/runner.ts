import { failed, type ItemResult } from '../domain/decide.ts';
import { type ClaimedChunk, cancelChunk, claimChunk, completeChunk, countResults } from '../storage/chunk-store.ts';
import type { Pool, Transaction } from '../storage/database.ts';
import { type PickedJob, pickRunnableJob, type RunnableJob } from '../storage/dispatch-store.ts';
import { failureKind } from '../storage/errors.ts';
import { countChunk } from '../storage/job-store.ts';
import { raw } from '../storage/sql.ts';
import { applyItems } from './apply-items.ts';
import { changedBy, type TellEffect } from './effects.ts';
import type { DecidedItems, EngineLogger } from './engine.ts';
import type { Live } from './live.ts';
import type { MountedCollection } from './mounts.ts';

export interface RunnerOptions {
  pool: Pool;
  mounts: ReadonlyMap<string, MountedCollection>;
  live: Live;
  logger: EngineLogger;
  /** Chunks applied at the same time. From two on, one of these places is kept for new jobs. */
  concurrency: number;
  keyTtlSeconds: number;
  jobTtlSeconds: number;
  onDecided: (items: DecidedItems) => void;
  tellEffect: TellEffect;
}

/** A worker serves one job for so long before it looks which is next, unless another tenant waits or a job arrives. */
const sliceMs = 250;
/** For so long after a job of another tenant arrived, all workers but one look for new jobs only. */
const calmMs = 100;
/** Of so many choices of a job, one passes over priorities. */
const choicesPerAnyPriority = 10;
/** How often a worker without work looks for itself, in case a notification was lost or another worker died. */
const lookAgainMs = 1_000;
const lockTimeoutMs = 5_000;
/** Attempts at a chunk that fails for a reason of its own, before its items fail as `internal`. */
const maxAttempts = 5;
const maxBackoffMs = 5_000;
const forgetTroubleMs = 10 * 60_000;

interface Trouble {
  attempts: number;
  retryAt: number;
  isolate: boolean;
  giveUp: boolean;
}

/** `starter`: applies the first chunk of new jobs and nothing else, so that a small job never waits for a large one's chunks. */
type Role = 'starter' | 'worker';

interface Run {
  active: boolean;
  ended: Promise<unknown>;
}

/**
 * Applies the chunks of runnable jobs. Each chunk is one transaction: a worker that dies leaves it pending, and another takes
 * it. `start` and `stop` may be called any number of times.
 */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #trouble = new Map<string, Trouble>();
  readonly #sleepers: { role: Role; wake: () => void }[] = [];
  #run: Run = { active: false, ended: Promise.resolve() };
  #stopListening: (() => void)[] = [];
  #signals = 0;
  #arrivals = 0;
  #lastArrival = { tenantId: '', at: Number.NEGATIVE_INFINITY };

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#run.active) return;
    const { live, concurrency } = this.#options;
    const onArrival = (tenantId: string) => {
      this.#arrivals += 1;
      this.#lastArrival = { tenantId, at: performance.now() };
      this.#wake('starter');
    };
    this.#stopListening = [live.on('docket_runnable', onArrival), live.on('resync', onArrival)];
    const earlier = this.#run.ended;
    const run = { active: true, ended: earlier };
    this.#run = run;
    const loops = Array.from({ length: concurrency }, (_, place) => this.#loop(run, place));
    run.ended = Promise.all([earlier, ...loops]);
  }

  /** Resolves when the chunks at hand are applied. */
  async stop(): Promise<void> {
    const run = this.#run;
    run.active = false;
    for (const stop of this.#stopListening) stop();
    this.#stopListening = [];
    for (const { wake } of this.#sleepers.splice(0)) wake();
    await run.ended;
  }

  /** Serves the next runnable job for one turn. Gives back how many chunks were applied, and whose they were. */
  async runOnce(role: Role = 'worker'): Promise<{ applied: number; tenantId?: string }> {
    const except: string[] = [];
    const onlyNew = role === 'starter';
    const anyPriority = Math.random() * choicesPerAnyPriority < 1;
    for (;;) {
      const job = await pickRunnableJob(this.#options.pool, { except, onlyNew, anyPriority });
      if (!job) return { applied: 0 };
      const applied = await this.#serve(job, role);
      if (applied > 0) return { applied, tenantId: job.tenantId };
      except.push(job.jobUuid);
    }
  }

  async #loop(run: Run, place: number): Promise<void> {
    let failures = 0;
    let servedTenant: string | undefined;
    while (run.active) {
      const seen = this.#signals;
      const giveWayMs = place > 1 ? this.#giveWayMs(servedTenant) : 0;
      const role = (place === 0 && this.#options.concurrency > 1) || giveWayMs > 0 ? 'starter' : 'worker';
      try {
        const { applied, tenantId } = await this.runOnce(role);
        failures = 0;
        if (applied === 0) await this.#sleep(run, role, seen, giveWayMs > 0 ? giveWayMs : this.#restMs());
        else if (role === 'worker') servedTenant = tenantId;
      } catch (error) {
        failures += 1;
        if (failures === 1)
          this.#options.logger.warn({ err: error }, 'a worker cannot reach the database; it keeps trying');
        await this.#sleep(run, role, this.#signals, backoff(failures));
      }
    }
  }

  /** One chunk while others wait for a turn, else as many as fit into the slice. */
  async #serve(job: PickedJob, role: Role): Promise<number> {
    const end = performance.now() + sliceMs;
    const arrivals = this.#arrivals;
    const goesOn = () =>
      role === 'worker' &&
      !job.othersWait &&
      this.#run.active &&
      arrivals === this.#arrivals &&
      performance.now() < end;
    let applied = 0;
    do {
      const outcome = await this.#applyNext(job);
      if (outcome === 'nothing_to_claim') break;
      if (outcome === 'applied') applied += 1;
    } while (goesOn());
    return applied;
  }

  async #applyNext(job: RunnableJob): Promise<'applied' | 'failed' | 'nothing_to_claim'> {
    let chunk: ClaimedChunk | undefined;
    try {
      const decided = await this.#options.pool.transaction(async (tx) => {
        void tx.query(raw(`set local lock_timeout = ${lockTimeoutMs}`));
        chunk = await claimChunk(tx, job.tenantId, job.jobUuid, this.#waitingChunks(job));
        if (!chunk) return undefined;
        if (chunk.more) this.#wake('worker');
        return await this.#applyChunk(tx, job, chunk, this.#trouble.get(keyOf(job, chunk)));
      });
      if (!chunk || !decided) return 'nothing_to_claim';
      this.#trouble.delete(keyOf(job, chunk));
      this.#options.onDecided(decided);
      return 'applied';
    } catch (error) {
      if (!chunk || failureKind(error) === 'connection') throw error;
      this.#noteTrouble(job, chunk, error);
      // why: the starter leaves its job to the workers, who must learn when the chunk is due
      this.#wake('worker');
      return 'failed';
    }
  }

  async #applyChunk(
    tx: Transaction,
    job: RunnableJob,
    chunk: ClaimedChunk,
    trouble: Trouble | undefined,
  ): Promise<DecidedItems | undefined> {
    const { tenantId, jobUuid } = job;
    const { keyTtlSeconds, jobTtlSeconds, tellEffect } = this.#options;
    if (chunk.cancelRequested) return await leaveChunk(tx, job, chunk, { ttlSeconds: jobTtlSeconds, tellEffect });
    const mount = this.#options.mounts.get(chunk.collection);
    // why: a process that does not know the collection leaves the job to those that do
    if (!mount) return undefined;
    let results: ItemResult[];
    let written: Promise<unknown> | undefined;
    if (trouble?.giveUp) results = failAll(chunk);
    else {
      const params = { ...chunk, ...job, mount, onlyAvailable: false, isolate: trouble?.isolate ?? false };
      ({ results, written } = await applyItems(tx, { ...params, keyTtlSeconds }));
    }
    const counts = countResults(results);
    await Promise.all([
      written,
      completeChunk(tx, { tenantId, jobUuid, chunkNo: chunk.chunkNo, results }),
      countChunk(tx, { tenantId, jobUuid, chunkNo: chunk.chunkNo, counts, ttlSeconds: jobTtlSeconds }),
      tellEffect(tx, job, { changed: changedBy(chunk, results), mayEnd: true }),
      tx.commit(),
    ]);
    return { collection: chunk.collection, ...counts };
  }

  /** How long one of several workers is to leave the machine to the job of another tenant that arrived just now. */
  #giveWayMs(servedTenant: string | undefined): number {
    const { tenantId, at } = this.#lastArrival;
    if (servedTenant === undefined || tenantId === servedTenant) return 0;
    return Math.max(0, at + calmMs - performance.now());
  }

  /** Time until a chunk that was put off is due, or until it is time to look for work. */
  #restMs(): number {
    const now = performance.now();
    const due = [...this.#trouble.values()].map(({ retryAt }) => retryAt - now).filter((ms) => ms > 0);
    return Math.min(lookAgainMs, ...due);
  }

  #waitingChunks(job: RunnableJob): number[] {
    const now = performance.now();
    const waiting: number[] = [];
    for (const [key, { retryAt }] of this.#trouble) {
      const [jobUuid, chunkNo] = key.split(' ');
      if (jobUuid === job.jobUuid && retryAt > now) waiting.push(Number(chunkNo));
    }
    return waiting;
  }

  #noteTrouble(job: RunnableJob, chunk: ClaimedChunk, error: unknown): void {
    const key = keyOf(job, chunk);
    const trouble = this.#trouble.get(key) ?? { attempts: 0, retryAt: 0, isolate: false, giveUp: false };
    const gaveUpBefore = trouble.giveUp;
    const kind = failureKind(error);
    if (kind === 'data' && !trouble.isolate) trouble.isolate = true;
    else {
      trouble.attempts += 1;
      // why: a lock that somebody holds, a lost race or a full disk is no fault of the items: such a chunk waits as long as it takes
      trouble.giveUp = trouble.attempts >= maxAttempts && (kind === 'data' || kind === 'other');
      trouble.retryAt = performance.now() + backoff(trouble.attempts);
    }
    this.#trouble.set(key, trouble);
    this.#forgetOldTrouble();
    const details = { err: error, jobId: job.jobUuid, chunkNo: chunk.chunkNo, attempts: trouble.attempts };
    // why once: another worker may have taken the chunk in the moment before it was given up
    if (trouble.giveUp && !gaveUpBefore)
      this.#options.logger.error(details, 'a chunk keeps failing; its items fail as internal');
    else this.#options.logger.warn(details, 'a chunk was not applied; it is tried again');
  }

  // why: a chunk that another worker applied in the meantime is never claimed here again
  #forgetOldTrouble(): void {
    const longAgo = performance.now() - forgetTroubleMs;
    for (const [key, { retryAt }] of this.#trouble) if (retryAt < longAgo) this.#trouble.delete(key);
  }

  /** Wakes one that sleeps; for a new job the starter, or else a worker. */
  #wake(role: Role): void {
    this.#signals += 1;
    const placeOf = (wanted: Role) => this.#sleepers.findIndex((sleeper) => sleeper.role === wanted);
    const starter = role === 'starter' ? placeOf('starter') : -1;
    const place = starter >= 0 ? starter : placeOf('worker');
    if (place >= 0) this.#sleepers.splice(place, 1)[0]?.wake();
  }

  /** Until the next signal after `seen`, or the time given. */
  async #sleep(run: Run, role: Role, seen: number, ms: number): Promise<void> {
    if (!run.active || this.#signals !== seen) return;
    await new Promise<void>((resolve) => {
      const sleeper = {
        role,
        wake: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      const timer = setTimeout(() => {
        const place = this.#sleepers.indexOf(sleeper);
        if (place >= 0) this.#sleepers.splice(place, 1);
        resolve();
      }, ms);
      this.#sleepers.push(sleeper);
    });
  }
}

function keyOf(job: RunnableJob, chunk: ClaimedChunk): string {
  return `${job.jobUuid} ${chunk.chunkNo}`;
}

function backoff(attempts: number): number {
  return Math.min(50 * 2 ** attempts, maxBackoffMs) * (0.5 + Math.random() / 2);
}

/** A chunk that fell back after its job was cancelled, because the worker that had it died. */
async function leaveChunk(
  tx: Transaction,
  job: RunnableJob,
  chunk: ClaimedChunk,
  { ttlSeconds, tellEffect }: { ttlSeconds: number; tellEffect: TellEffect },
) {
  const { tenantId, jobUuid } = job;
  const counts = { succeeded: 0, failed: 0, notProcessed: chunk.items.length };
  await Promise.all([
    cancelChunk(tx, tenantId, jobUuid, chunk.chunkNo),
    countChunk(tx, { tenantId, jobUuid, chunkNo: chunk.chunkNo, counts, ttlSeconds }),
    tellEffect(tx, job, { mayEnd: true }),
    tx.commit(),
  ]);
  return { collection: chunk.collection, ...counts };
}

function failAll(chunk: ClaimedChunk): ItemResult[] {
  const rejection = {
    code: 'internal',
    message: 'The item could not be applied because of a fault in the server.',
    field: null,
  } as const;
  return chunk.items.map((item, offset) => failed(chunk.firstIndex + offset, item, rejection));
}
