import type { CallOptions, ItemResult } from './batch.ts';
import { jobPath, type WaitOptions, waitForEnd } from './follow.ts';
import { chunksOf, type Http, type Query } from './http.ts';
import { endOf, type Job, type JobEnd, type JobFilters } from './job.ts';
import { JobHandle, type ResultFilter } from './job-handle.ts';

export interface RetryOptions extends CallOptions {
  /** `failed`, the default: all items that did not succeed. `retryable`: those that may succeed as they are. */
  only?: 'failed' | 'retryable';
}

/** Batches that run, or ran, by their id. Every call may be repeated: it answers with the same job. */
export class Jobs {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  /** A handle on a job that was started elsewhere, or before. Asks nothing of the server. */
  follow<Row = unknown>(jobId: string): JobHandle<Row> {
    return new JobHandle<Row>(this, jobId, { end: undefined, results: undefined });
  }

  async get(jobId: string, { signal }: CallOptions = {}): Promise<Job> {
    return await this.#http.get(jobPath(jobId), {}, signal);
  }

  /** All batches of the tenant, newest first, for as long as they are kept. */
  list(filters: JobFilters = {}, { signal }: CallOptions = {}): AsyncGenerator<Job, void, undefined> {
    return this.#http.pages('/jobs', { ...filters, limit: 200 }, signal);
  }

  /** The results of the items decided so far, in request order. */
  results<Row = unknown>(
    jobId: string,
    filter: ResultFilter = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<ItemResult<Row>, void, undefined> {
    return this.#http.pages(`${jobPath(jobId)}/results`, { ...filter, limit: 1_000 } as Query, signal);
  }

  /**
   * The results of the items decided so far as one text: CSV (what was asked of each item, then its outcome; safe to open in a
   * spreadsheet) or NDJSON. It is read no faster than it is taken, and not asked for again when it breaks off.
   */
  async *download(
    jobId: string,
    type: 'text/csv' | 'application/x-ndjson',
    filter: ResultFilter = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const left = new AbortController();
    const request = {
      method: 'GET' as const,
      path: `${jobPath(jobId)}/results`,
      query: { ...filter } as Query,
      headers: { accept: type },
      signal: signal ? AbortSignal.any([signal, left.signal]) : left.signal,
      maxRetries: 0,
    };
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const read = this.#http.request(request, async (response, touch, rest) => {
      if (!response.body) return;
      for await (const bytes of chunksOf(response.body)) {
        // why: one who reads slowly is not a server that has fallen silent
        rest();
        await writer.write(bytes);
        touch();
      }
    });
    const whole = read.then(
      () => writer.close(),
      (error) => writer.abort(error),
    );
    try {
      yield* chunksOf(readable);
      await whole;
    } finally {
      left.abort();
      // why caught: what failed was thrown where the bytes are read
      await whole.catch(() => {});
    }
  }

  /** As `done` of the handle. */
  async done(jobId: string, options: WaitOptions = {}): Promise<JobEnd> {
    return await waitForEnd(this.#http, jobId, options);
  }

  async cancel(jobId: string, options: CallOptions = {}): Promise<Job> {
    return await this.#ask(jobId, 'cancel', options);
  }

  async pause(jobId: string, options: CallOptions = {}): Promise<Job> {
    return await this.#ask(jobId, 'pause', options);
  }

  async resume(jobId: string, options: CallOptions = {}): Promise<Job> {
    return await this.#ask(jobId, 'resume', options);
  }

  async retry<Row = unknown>(jobId: string, { only, ...options }: RetryOptions = {}): Promise<JobHandle<Row>> {
    return this.#handleOf(await this.#ask(jobId, 'retry', options, only === undefined ? undefined : { only }));
  }

  async revert<Row = unknown>(jobId: string, options: CallOptions = {}): Promise<JobHandle<Row>> {
    return this.#handleOf(await this.#ask(jobId, 'revert', options));
  }

  async apply<Row = unknown>(jobId: string, options: CallOptions = {}): Promise<JobHandle<Row>> {
    return this.#handleOf(await this.#ask(jobId, 'apply', options));
  }

  /** Removes an ended job, its results and its idempotency key. What it changed stays. */
  async delete(jobId: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#http.send({ method: 'DELETE', path: jobPath(jobId), signal });
  }

  #handleOf<Row>(job: Job): JobHandle<Row> {
    return new JobHandle<Row>(this, job.jobId, { end: endOf(job), results: undefined });
  }

  async #ask(jobId: string, action: string, { signal }: CallOptions, body?: object): Promise<Job> {
    const path = `${jobPath(jobId)}/${action}`;
    const json = body && JSON.stringify(body);
    return (await this.#http.send<Job>({ method: 'POST', path, json, repeatable: true, signal })).body;
  }
}
