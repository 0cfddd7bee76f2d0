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

/** Progress is told so often at most, */
const progressEveryMs = 250;
/** and less often where very many follow, so that telling them leaves time for the work: 2,000 of them each second. */
const perFollowerMs = 0.5;
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
  readonly #stopListening: (() => void)[];
  #followers = 0;
  #stopped = false;

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
    this.#stopped = true;
    for (const watch of this.#watches.values()) for (const follower of watch.followers) follower.leave();
    for (const stop of this.#stopListening) stop();
  }

  /** See `Engine.jobEvents`. */
  async *follow({ tenantId, jobId, lastEventId, signal }: FollowParams): AsyncGenerator<JobEvent> {
    const job = await this.#jobs.get(tenantId, jobId);
    if (lastEventId === endId && isTerminal(job.status)) return;
    const place = Place.after(lastEventId);
    const watch = this.#watch(job, tenantId);
    const follower = new Follower(signal.aborted || this.#stopped);
    const leave = () => follower.leave();
    signal.addEventListener('abort', leave);
    watch.followers.add(follower);
    this.#followers += 1;
    try {
      yield* stream(watch, place, follower);
    } finally {
      this.#followers -= 1;
      watch.followers.delete(follower);
      signal.removeEventListener('abort', leave);
      if (watch.followers.size === 0) {
        this.#watches.delete(jobId);
        watch.close();
      }
    }
  }

  #watch(job: Job, tenantId: string): JobWatch {
    let watch = this.#watches.get(job.jobId);
    if (!watch) {
      const everyMs = () => Math.max(progressEveryMs, this.#followers * perFollowerMs);
      watch = new JobWatch(this.#pool, this.#jobs, { job, tenantId, everyMs });
      this.#watches.set(job.jobId, watch);
      watch.refresh();
    }
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

/** Somebody who follows a job: woken by what happens to it, and by leaving. */
class Follower {
  left: boolean;
  #wake: (() => void) | undefined;

  constructor(left: boolean) {
    this.left = left;
  }

  leave(): void {
    this.left = true;
    this.wake();
  }

  wake(): void {
    this.#wake?.();
  }

  /** Until it is woken, or the time is up. */
  async sleep(ms: number | undefined): Promise<void> {
    const timer = ms === undefined ? undefined : setTimeout(() => this.wake(), ms);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    clearTimeout(timer);
  }
}

async function* stream(watch: JobWatch, place: Place, follower: Follower): AsyncGenerator<JobEvent> {
  await watch.ready;
  // why thrown: an end without any event would say that the job is over
  if (watch.failure) throw watch.failure;
  let next = 0;
  let told = watch.version;
  let beat = watch.beats;
  // why: the first progress is told at once, and the next beat may be near
  const tellAfter = performance.now() + watch.everyMs();
  if (!watch.ended) yield { kind: 'progress', id: place.id(), job: watch.job };
  while (!follower.left) {
    const { version } = watch;
    for (; next < watch.decided.length && !follower.left; next++) {
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
    const early = tellAfter - performance.now();
    const due = version > told && watch.beats > beat;
    if (due && early <= 0) {
      told = version;
      beat = watch.beats;
      yield { kind: 'progress', id: place.id(), job: watch.job };
    }
    if (watch.version === version && !follower.left) await follower.sleep(due && early > 0 ? early : undefined);
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
  /** How often those who follow were woken to tell progress. */
  beats = 0;
  readonly followers = new Set<Follower>();
  /** Between two beats, at least. */
  readonly everyMs: () => number;
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
  #beatAt = Number.NEGATIVE_INFINITY;
  #nextBeat: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> | undefined;
  #refreshAgain = false;
  #notices = 0;

  constructor(pool: Pool, jobs: JobReader, watched: { job: Job; tenantId: string; everyMs: () => number }) {
    this.#pool = pool;
    this.#jobs = jobs;
    this.#tenantId = watched.tenantId;
    this.job = watched.job;
    this.everyMs = watched.everyMs;
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
    this.#changed({ atOnce: chunk?.failed === true });
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
    this.#changed({ atOnce: this.ended || this.failure !== undefined });
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

  /** Wakes those who follow; for nothing but progress, with the next beat. */
  #changed({ atOnce }: { atOnce: boolean }): void {
    this.version += 1;
    if (atOnce) this.#wake();
    else
      this.#nextBeat ??= setTimeout(() => this.#beat(), Math.max(0, this.#beatAt + this.everyMs() - performance.now()));
  }

  #beat(): void {
    this.#nextBeat = undefined;
    this.#beatAt = performance.now();
    this.beats += 1;
    this.#wake();
  }

  #wake(): void {
    for (const follower of this.followers) follower.wake();
  }

  close(): void {
    clearTimeout(this.#nextBeat);
  }
}
