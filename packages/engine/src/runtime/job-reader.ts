import { RequestError } from '../domain/codes.ts';
import { damagedCursor, decodeCursor, encodeCursor } from '../domain/cursor.ts';
import type { ItemResult } from '../domain/decide.ts';
import { parseJobId, presentJobId } from '../domain/ids.ts';
import { isTerminal, type Job } from '../domain/job.ts';
import {
  arePending,
  nextPendingChunk,
  pendingChunksOf,
  readResults,
  type StoredChunk,
} from '../storage/chunk-store.ts';
import type { Pool } from '../storage/database.ts';
import { findJob, type JobFilter, listJobs } from '../storage/job-store.ts';
import type { Page, ResultRow } from './engine.ts';
import type { Live } from './live.ts';

/** How often a wait looks for itself, in case a notification was lost. */
const lookAgainMs = 1_000;
/** A chunk's end is not notified, only its job's. */
const chunkLookMs = 50;

interface ResultsParams {
  tenantId: string;
  jobId: string;
  status?: ItemResult['status'] | undefined;
}

interface WaitOptions {
  jobId: string;
  timeoutMs: number;
  everyMs: number;
  signal: AbortSignal | undefined;
}

/** Reads jobs and their results, and waits for them. */
export class JobReader {
  readonly #pool: Pool;
  readonly #live: Live;
  readonly #stopping = new AbortController();
  readonly #waits = new Set<Promise<boolean>>();

  constructor(pool: Pool, live: Live) {
    this.#pool = pool;
    this.#live = live;
  }

  async get(tenantId: string, jobId: string): Promise<Job> {
    const job = await findJob(this.#pool, tenantId, jobId);
    if (job) return job;
    throw new RequestError(
      'job_not_found',
      `There is no job ${JSON.stringify(jobId.slice(0, 100))}. Jobs are kept until they expire.`,
    );
  }

  /** Ends every wait, now and later, with the job as it is. */
  async stopWaiting(): Promise<void> {
    this.#stopping.abort();
    // why: a wait looks once more before it ends, and needs its connection for that
    await Promise.allSettled(this.#waits);
  }

  async wait(tenantId: string, jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<Job> {
    let job = await this.get(tenantId, jobId);
    const look = async () => {
      job = await this.get(tenantId, jobId);
      return isTerminal(job.status);
    };
    if (!isTerminal(job.status)) await this.#waitUntil(look, { jobId, timeoutMs, everyMs: lookAgainMs, signal });
    return job;
  }

  /** True once the job has decided the record, or holds it nowhere; false when that took too long. Throws `job_not_found`. */
  async waitForRecord(params: {
    tenantId: string;
    jobId: string;
    id: string;
    timeoutMs: number;
    signal?: AbortSignal | undefined;
  }): Promise<boolean> {
    const { tenantId, jobId, id, timeoutMs, signal } = params;
    const job = await this.get(tenantId, jobId);
    const jobUuid = parseJobId(jobId) as string;
    if (isTerminal(job.status)) return true;
    const chunks = await pendingChunksOf(this.#pool, tenantId, jobUuid, id);
    if (chunks.length === 0) return true;
    const look = async () => !(await arePending(this.#pool, tenantId, jobUuid, chunks));
    return await this.#waitUntil(look, { jobId, timeoutMs, everyMs: chunkLookMs, signal });
  }

  async #waitUntil(look: () => Promise<boolean>, options: WaitOptions): Promise<boolean> {
    // why: once the engine stops, there is no connection for a look any more
    if (this.#stopping.signal.aborted) return false;
    const waiting = this.#lookUntil(look, options);
    this.#waits.add(waiting);
    try {
      return await waiting;
    } finally {
      this.#waits.delete(waiting);
    }
  }

  /** Looks again whenever the job ends or the time between looks has passed. Gives back what the last look said. */
  async #lookUntil(look: () => Promise<boolean>, options: WaitOptions): Promise<boolean> {
    const { jobId, signal } = options;
    const deadline = performance.now() + options.timeoutMs;
    let wake = () => {};
    const stops = [
      this.#live.on('docket_job_ended', (ended) => ended === jobId && wake()),
      this.#live.on('resync', () => wake()),
    ];
    const signals = signal ? [signal, this.#stopping.signal] : [this.#stopping.signal];
    const onAbort = () => wake();
    for (const one of signals) one.addEventListener('abort', onAbort);
    try {
      for (;;) {
        // why: the next notification is awaited before the look, so that none in between is missed
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        if (await look()) return true;
        const left = deadline - performance.now();
        if (left <= 0 || signals.some((one) => one.aborted)) return false;
        await Promise.race([woken, timer(Math.min(left, options.everyMs))]);
      }
    } finally {
      for (const stop of stops) stop();
      for (const one of signals) one.removeEventListener('abort', onAbort);
    }
  }

  async list(params: JobFilter & { tenantId: string; limit: number; cursor?: string | undefined }): Promise<Page<Job>> {
    const { tenantId, limit, cursor, ...filter } = params;
    const scope = JSON.stringify(['jobs', filter.status, filter.collection, filter.label]);
    const [after] = cursor === undefined ? [] : decodeCursor(cursor, scope, ['text']);
    if (after !== undefined && !parseJobId(after as string)) throw damagedCursor();
    const jobs = await listJobs(this.#pool, tenantId, filter, after as string | undefined, limit + 1);
    return pageOf(jobs, limit, (job) => encodeCursor(scope, [job.jobId]));
  }

  async results(params: ResultsParams & { limit: number; cursor?: string | undefined }): Promise<Page<ItemResult>> {
    const { tenantId, jobId, status, limit, cursor } = params;
    await this.get(tenantId, jobId);
    const scope = JSON.stringify(['results', jobId, status]);
    const [chunkNo = 0, index = -1] =
      cursor === undefined ? [] : (decodeCursor(cursor, scope, ['integer', 'integer']) as number[]);
    const found: { result: ItemResult; chunkNo: number }[] = [];
    for await (const chunk of this.#chunks(params, chunkNo)) {
      for (const result of chunk.results) {
        if (result.index > index && (status === undefined || result.status === status)) {
          found.push({ result, chunkNo: chunk.chunkNo });
        }
        if (found.length > limit) break;
      }
      if (found.length > limit) break;
    }
    const page = pageOf(found, limit, (last) => encodeCursor(scope, [last.chunkNo, last.result.index]));
    return { items: page.items.map(({ result }) => result), nextCursor: page.nextCursor };
  }

  /** Every result of a job, for those that stand in one answer. */
  async allResults(tenantId: string, jobId: string): Promise<ItemResult[]> {
    const results: ItemResult[] = [];
    for await (const chunk of this.#chunks({ tenantId, jobId }, 0)) results.push(...chunk.results);
    return results;
  }

  async *stream(params: ResultsParams): AsyncGenerator<ResultRow[]> {
    await this.get(params.tenantId, params.jobId);
    for await (const { items, results } of this.#chunks(params, 0)) {
      const rows = results.map((result, offset) => ({ result, fields: items[offset]?.fields ?? {} }));
      yield params.status === undefined ? rows : rows.filter((row) => row.result.status === params.status);
    }
    // why: of a job that was deleted in the meantime, the rest would be missing in silence
    await this.get(params.tenantId, params.jobId);
  }

  /** Of each id, the open jobs that hold it in a chunk not yet applied. */
  async pending(tenantId: string, collection: string, ids: readonly string[]): Promise<Map<string, string[]>> {
    const pending = new Map<string, Set<string>>();
    const wanted = new Set(ids);
    let after: { jobUuid: string; chunkNo: number } | undefined;
    for (;;) {
      const chunk = await nextPendingChunk(this.#pool, tenantId, collection, after);
      if (!chunk) break;
      for (const { id } of chunk.items) {
        if (!wanted.has(id)) continue;
        const jobs = pending.get(id) ?? new Set();
        pending.set(id, jobs.add(presentJobId(chunk.jobUuid)));
      }
      after = chunk;
    }
    return new Map([...pending].map(([id, jobs]) => [id, [...jobs]]));
  }

  async *#chunks({ tenantId, jobId, status }: ResultsParams, fromChunk: number): AsyncGenerator<StoredChunk> {
    const jobUuid = parseJobId(jobId);
    if (!jobUuid) return;
    for (let next = fromChunk; ; ) {
      const chunk = await readResults(this.#pool, { tenantId, jobUuid, fromChunk: next, status });
      if (!chunk) return;
      yield chunk;
      next = chunk.chunkNo + 1;
    }
  }
}

/** Cuts one row more than asked for into a page. */
export function pageOf<Row>(rows: Row[], limit: number, cursorOf: (last: Row) => string): Page<Row> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? cursorOf(last) : null };
}

function timer(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
