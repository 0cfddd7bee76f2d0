import { RequestError } from '../domain/codes.ts';
import { damagedCursor, decodeCursor, encodeCursor } from '../domain/cursor.ts';
import type { ItemResult } from '../domain/decide.ts';
import { parseJobId, presentJobId } from '../domain/ids.ts';
import { isTerminal, type Job } from '../domain/job.ts';
import { passesFilter, type ResultFilter } from '../domain/result-filter.ts';
import { arePending, pendingChunksHolding, readResults, type StoredChunk } from '../storage/chunk-store.ts';
import type { Pool } from '../storage/database.ts';
import { findJob, type JobFilter, listJobs } from '../storage/job-store.ts';
import type { Page, ResultRow } from './engine.ts';
import type { Live } from './live.ts';

/** How often a wait looks for itself, in case a notification was lost. */
const lookAgainMs = 1_000;
/** A chunk's end is not notified, only its job's. */
const chunkLookMs = 50;

interface ResultsParams extends ResultFilter {
  tenantId: string;
  jobId: string;
}

interface RecordWait {
  tenantId: string;
  jobId: string;
  id: string;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
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
  readonly #waits = new Set<Promise<unknown>>();

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

  wait(tenantId: string, jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<Job> {
    return this.#endBeforeStop(this.#waitForEnd(tenantId, jobId, timeoutMs, signal));
  }

  async #waitForEnd(tenantId: string, jobId: string, timeoutMs: number, signal?: AbortSignal): Promise<Job> {
    let job = await this.get(tenantId, jobId);
    const look = async () => {
      job = await this.get(tenantId, jobId);
      return isTerminal(job.status);
    };
    if (!isTerminal(job.status)) await this.#lookUntil(look, { jobId, timeoutMs, everyMs: lookAgainMs, signal });
    return job;
  }

  /** True once the job has decided the record, or holds it nowhere; false when that took too long. Throws `job_not_found`. */
  waitForRecord(params: RecordWait): Promise<boolean> {
    return this.#endBeforeStop(this.#waitForRecord(params));
  }

  async #waitForRecord(params: RecordWait): Promise<boolean> {
    const { tenantId, jobId, id, timeoutMs, signal } = params;
    const job = await this.get(tenantId, jobId);
    const jobUuid = parseJobId(jobId) as string;
    if (isTerminal(job.status)) return true;
    const chunks: number[] = [];
    for await (const { chunkNo } of pendingChunksHolding(this.#pool, { tenantId, jobUuid }, [id])) chunks.push(chunkNo);
    if (chunks.length === 0) return true;
    const look = async () => !(await arePending(this.#pool, tenantId, jobUuid, chunks));
    return await this.#lookUntil(look, { jobId, timeoutMs, everyMs: chunkLookMs, signal });
  }

  async #endBeforeStop<Value>(waiting: Promise<Value>): Promise<Value> {
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
    const { tenantId, jobId, limit, cursor, ...filter } = params;
    await this.get(tenantId, jobId);
    const codes = filter.codes && [...new Set(filter.codes)].sort();
    const scope = JSON.stringify(['results', jobId, filter.status, ...(codes ? [codes] : [])]);
    const [chunkNo = 0, index = -1] =
      cursor === undefined ? [] : (decodeCursor(cursor, scope, ['integer', 'integer']) as number[]);
    const found: { result: ItemResult; chunkNo: number }[] = [];
    for await (const chunk of this.#chunks({ ...params, fromChunk: chunkNo, withItems: false })) {
      for (const result of chunk.results) {
        if (result.index > index && passesFilter(result, filter)) found.push({ result, chunkNo: chunk.chunkNo });
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
    const all = { tenantId, jobId, fromChunk: 0, withItems: false };
    for await (const chunk of this.#chunks(all)) results.push(...chunk.results);
    return results;
  }

  async *stream(params: ResultsParams & { withFields?: boolean }): AsyncGenerator<ResultRow[]> {
    await this.get(params.tenantId, params.jobId);
    for await (const { items, results } of this.#chunks({
      ...params,
      fromChunk: 0,
      withItems: params.withFields ?? true,
    })) {
      const rows: ResultRow[] = [];
      for (const [offset, result] of results.entries()) {
        if (passesFilter(result, params)) rows.push({ result, fields: items?.[offset]?.fields ?? {} });
      }
      if (rows.length > 0) yield rows;
    }
    // why: of a job that was deleted in the meantime, the rest would be missing in silence
    await this.get(params.tenantId, params.jobId);
  }

  /** Of each id, the open jobs that hold it in a chunk not yet applied. */
  async pending(tenantId: string, collection: string, ids: readonly string[]): Promise<Map<string, string[]>> {
    const pending = new Map<string, Set<string>>();
    for await (const { jobUuid, held } of pendingChunksHolding(this.#pool, { tenantId, collection }, ids)) {
      for (const id of held) {
        const jobs = pending.get(id) ?? new Set();
        pending.set(id, jobs.add(presentJobId(jobUuid)));
      }
    }
    return new Map([...pending].map(([id, jobs]) => [id, [...jobs]]));
  }

  async *#chunks(params: ResultsParams & { fromChunk: number; withItems: boolean }): AsyncGenerator<StoredChunk> {
    const jobUuid = parseJobId(params.jobId);
    if (!jobUuid) return;
    for (let { fromChunk } = params; ; ) {
      const chunk = await readResults(this.#pool, { ...params, jobUuid, fromChunk });
      if (!chunk) return;
      yield chunk;
      fromChunk = chunk.chunkNo + 1;
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
