import { RequestError } from '../domain/codes.ts';
import type { ItemResult } from '../domain/decide.ts';
import { parseJobId } from '../domain/ids.ts';
import { isTerminal, type Job, processedOf } from '../domain/job.ts';
import { NumberSet } from '../domain/number-set.ts';
import { type ChunkOutcome, chunkOutcomes, readResults } from '../storage/chunk-store.ts';
import type { Pool } from '../storage/database.ts';
import type { ProgressNotice } from '../storage/job-store.ts';
import type { JobEvent } from './engine.ts';
import type { JobReader } from './job-reader.ts';
import type { Live } from './live.ts';

/** Progress is told so often at most. */
const progressEveryMs = 250;
/** Chunks whose results are kept for the other followers of a job. */
const keptChunks = 4;
const endId = 'end';
const longestEventId = 16_384;

interface FollowParams {
  tenantId: string;
  jobId: string;
  lastEventId?: string | undefined;
  signal: AbortSignal;
}

/** Tells what happens to jobs. However many follow a job, it is read once. */
export class JobEvents {
  readonly #pool: Pool;
  readonly #live: Live;
  readonly #jobs: JobReader;
  readonly #watches = new Map<string, JobWatch>();
  readonly #stopping = new AbortController();
  readonly #stopListening: (() => void)[];

  constructor(pool: Pool, live: Live, jobs: JobReader) {
    this.#pool = pool;
    this.#live = live;
    this.#jobs = jobs;
    this.#stopListening = [
      this.#live.on('docket_job_progress', (payload) => {
        const notice = JSON.parse(payload) as ProgressNotice;
        this.#watches.get(notice.jobId)?.note(notice);
      }),
      this.#live.on('docket_job_ended', (jobId) => this.#watches.get(jobId)?.refresh()),
      this.#live.on('resync', () => {
        for (const watch of this.#watches.values()) watch.refresh();
      }),
    ];
  }

  /** Ends every stream, now and later. */
  stop(): void {
    this.#stopping.abort();
    for (const stop of this.#stopListening) stop();
  }

  /** See `Engine.jobEvents`. */
  async *follow({ tenantId, jobId, lastEventId, signal }: FollowParams): AsyncGenerator<JobEvent> {
    const job = await this.#jobs.get(tenantId, jobId);
    if (lastEventId === endId && isTerminal(job.status)) return;
    const place = Place.after(lastEventId);
    const watch = this.#watch(job, tenantId);
    const ending = AbortSignal.any([signal, this.#stopping.signal]);
    try {
      yield* stream(watch, place, ending);
    } finally {
      watch.followers -= 1;
      if (watch.followers === 0) this.#watches.delete(jobId);
    }
  }

  #watch(job: Job, tenantId: string): JobWatch {
    let watch = this.#watches.get(job.jobId);
    if (!watch) {
      watch = new JobWatch(this.#pool, this.#jobs, job, tenantId);
      this.#watches.set(job.jobId, watch);
      watch.refresh();
    }
    watch.followers += 1;
    return watch;
  }
}

/** Which failures a stream has told: those of whole chunks, and of one chunk those up to an item. */
class Place {
  readonly told: NumberSet;
  readonly partial: { chunkNo: number; index: number } | undefined;

  private constructor(told: NumberSet, partial: Place['partial']) {
    this.told = told;
    this.partial = partial;
  }

  static after(eventId: string | undefined): Place {
    if (eventId === undefined || eventId === '' || eventId === endId) return new Place(new NumberSet(), undefined);
    const [, told, chunkNo, index] = /^c([\d.-]*)(?:_(\d{1,9})_(\d{1,9}))?$/.exec(eventId) ?? [];
    const set = told === undefined || eventId.length > longestEventId ? undefined : NumberSet.parse(told);
    if (!set) {
      throw new RequestError('invalid_parameter', 'The event id is damaged. Start again without one.', {
        errors: [{ pointer: '/Last-Event-ID', message: 'Must be the id of an event of this job.' }],
      });
    }
    return new Place(set, chunkNo === undefined ? undefined : { chunkNo: Number(chunkNo), index: Number(index) });
  }

  id(partial?: { chunkNo: number; index: number }): string {
    return partial ? `c${this.told}_${partial.chunkNo}_${partial.index}` : `c${this.told}`;
  }
}

async function* stream(watch: JobWatch, place: Place, ending: AbortSignal): AsyncGenerator<JobEvent> {
  await watch.ready;
  // why thrown: an end without any event would say that the job is over
  if (watch.failure) throw watch.failure;
  let next = 0;
  let toldVersion = watch.version;
  let tellAt = performance.now() + progressEveryMs;
  if (!watch.ended) yield { kind: 'progress', id: place.id(), job: watch.job };
  while (!ending.aborted) {
    const { version } = watch;
    for (; next < watch.decided.length && !ending.aborted; next++) {
      const { chunkNo, failed } = watch.decided[next] as ChunkOutcome;
      if (!place.told.has(chunkNo) && failed) yield* failuresOf(watch, chunkNo, place);
      place.told.add(chunkNo);
    }
    if (next < watch.decided.length) continue;
    if (watch.ended) {
      yield { kind: 'end', id: endId, job: watch.job };
      return;
    }
    if (watch.failure) return;
    const now = performance.now();
    if (version > toldVersion && now >= tellAt) {
      yield { kind: 'progress', id: place.id(), job: watch.job };
      toldVersion = version;
      tellAt = now + progressEveryMs;
    }
    const untold = watch.version > toldVersion;
    await watch.change(version, ending, untold ? tellAt - performance.now() : undefined);
  }
}

async function* failuresOf(watch: JobWatch, chunkNo: number, place: Place): AsyncGenerator<JobEvent> {
  const from = place.partial?.chunkNo === chunkNo ? place.partial.index : -1;
  for (const result of await watch.failures(chunkNo)) {
    if (result.index > from) {
      yield { kind: 'failure', id: place.id({ chunkNo, index: result.index }), job: watch.job, result };
    }
  }
}

/** What is known of one job, kept up to date by notifications for all who follow it. */
class JobWatch {
  job: Job;
  /** Chunks in the order in which they were decided, as far as this process knows. */
  readonly decided: ChunkOutcome[] = [];
  version = 0;
  followers = 0;
  /** The job has ended, and all its chunks are known. */
  ended = false;
  /** Why the job cannot be read; it may be deleted. */
  failure: unknown;
  ready: Promise<void>;
  readonly #known = new NumberSet();
  readonly #pool: Pool;
  readonly #jobs: JobReader;
  readonly #tenantId: string;
  readonly #failures = new Map<number, Promise<ItemResult[]>>();
  #wake: (() => void)[] = [];
  #refreshing: Promise<void> | undefined;
  #refreshAgain = false;
  #notices = 0;

  constructor(pool: Pool, jobs: JobReader, job: Job, tenantId: string) {
    this.#pool = pool;
    this.#jobs = jobs;
    this.#tenantId = tenantId;
    this.job = job;
    this.ready = Promise.resolve();
  }

  note({ chunk, ...state }: ProgressNotice): void {
    this.#notices += 1;
    if (chunk) this.#add(chunk);
    // why: notifications and what was read may overtake each other; a job's count only grows
    if (!isTerminal(this.job.status) && processedOf(state.summary) >= processedOf(this.job.summary)) {
      const { status, cancelRequested, summary, startedAt } = state;
      // why: its end is told by what is read then, with its time
      this.job = { ...this.job, cancelRequested, summary, startedAt, status: isTerminal(status) ? 'running' : status };
    }
    this.#changed();
  }

  /** Reads the job and its chunks again. */
  refresh(): void {
    if (this.#refreshing) {
      this.#refreshAgain = true;
      return;
    }
    this.#refreshing = this.#read().finally(() => {
      this.#refreshing = undefined;
      if (!this.#refreshAgain) return;
      this.#refreshAgain = false;
      this.refresh();
    });
    this.ready = this.#refreshing;
  }

  async #read(): Promise<void> {
    const { job: before } = this;
    const notices = this.#notices;
    try {
      const job = await this.#jobs.get(this.#tenantId, this.job.jobId);
      const jobUuid = parseJobId(job.jobId) as string;
      for (const chunk of await chunkOutcomes(this.#pool, this.#tenantId, jobUuid)) this.#add(chunk);
      this.ended = isTerminal(job.status);
      // why: what was told in the meantime may be newer than what was read
      if (this.ended || notices === this.#notices || this.job === before) this.job = job;
      else this.#refreshAgain = true;
    } catch (error) {
      // why not told here: whoever follows connects again, and learns there what is wrong
      this.failure = error;
    }
    this.#changed();
  }

  #add(chunk: ChunkOutcome): void {
    if (this.#known.has(chunk.chunkNo)) return;
    this.#known.add(chunk.chunkNo);
    this.decided.push(chunk);
  }

  /** The results of the items of a chunk that failed. */
  failures(chunkNo: number): Promise<ItemResult[]> {
    const kept = this.#failures.get(chunkNo);
    if (kept) return kept;
    const reading = this.#readFailures(chunkNo);
    this.#failures.set(chunkNo, reading);
    // why: what could not be read is read again for the next who asks
    reading.catch(() => this.#failures.delete(chunkNo));
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= keptChunks) break;
      this.#failures.delete(oldest);
    }
    return reading;
  }

  async #readFailures(chunkNo: number): Promise<ItemResult[]> {
    const jobUuid = parseJobId(this.job.jobId) as string;
    const filter = { status: 'failed', codes: undefined, withItems: false } as const;
    const chunk = await readResults(this.#pool, { ...filter, tenantId: this.#tenantId, jobUuid, fromChunk: chunkNo });
    return chunk?.chunkNo === chunkNo ? chunk.results.filter(({ status }) => status === 'failed') : [];
  }

  #changed(): void {
    this.version += 1;
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  /** Until something is newer than `version`, the time is up, or the signal aborts. */
  async change(version: number, signal: AbortSignal, ms: number | undefined): Promise<void> {
    if (this.version !== version || signal.aborted || (ms !== undefined && ms <= 0)) return;
    await new Promise<void>((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      }
      signal.addEventListener('abort', done);
      this.#wake.push(done);
    });
  }
}
