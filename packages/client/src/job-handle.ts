import type { CallOptions, ItemResult, ResultStatus } from './batch.ts';
import type { ItemCode } from './errors.ts';
import type { WaitOptions } from './follow.ts';
import type { Job, JobEnd } from './job.ts';
import type { Jobs, RetryOptions } from './jobs.ts';

export interface ResultFilter {
  status?: ResultStatus;
  /** Only failures with this code, or any of these. */
  code?: ItemCode | readonly ItemCode[];
}

/** What is known of a batch beside its id. */
export interface Known<Row> {
  end: JobEnd | undefined;
  results: readonly ItemResult<Row>[] | undefined;
}

/**
 * A batch that was sent. It may have ended with the answer already: then `end` is set and nothing is asked of the server for
 * `done`, nor for the results where they came along.
 */
export class JobHandle<Row = unknown> {
  readonly jobId: string;
  readonly #jobs: Jobs;
  #end: JobEnd | undefined;
  readonly #results: readonly ItemResult<Row>[] | undefined;

  constructor(jobs: Jobs, jobId: string, known: Known<Row>) {
    this.#jobs = jobs;
    this.jobId = jobId;
    this.#end = known.end;
    this.#results = known.results;
  }

  /** How it ended, once that is known here. */
  get end(): JobEnd | undefined {
    return this.#end;
  }

  /**
   * Resolves when the batch has ended, however it did: look at `status`, `outcome` and `summary`. From then on every read sees what
   * was applied. Rejects with JobTimeoutError when that takes longer than `timeoutMs`; the job goes on.
   */
  async done(options: WaitOptions = {}): Promise<JobEnd> {
    options.signal?.throwIfAborted();
    this.#end ??= await this.#jobs.done(this.jobId, options);
    return this.#end;
  }

  /** The results in request order, once the batch has ended (as `done` waits for it). */
  async *results(options: ResultFilter & WaitOptions = {}): AsyncGenerator<ItemResult<Row>, void, undefined> {
    await this.done(options);
    const { status, code } = options;
    const filter = { ...(status === undefined ? {} : { status }), ...(code === undefined ? {} : { code }) };
    if (this.#results) yield* this.#results.filter((result) => matches(result, filter));
    else yield* this.#jobs.results<Row>(this.jobId, filter, options);
  }

  /** The results of the items that failed; those that were not reached are `results({ status: 'not_processed' })`. */
  failed(options: Omit<ResultFilter, 'status'> & WaitOptions = {}): AsyncGenerator<ItemResult<Row>, void, undefined> {
    return this.results({ ...options, status: 'failed' });
  }

  /** The job as it is now. */
  async get(options: CallOptions = {}): Promise<Job> {
    return await this.#jobs.get(this.jobId, options);
  }

  /** What is applied stays, the rest is not processed. Rejects with `job_conflict` when everything was applied already. */
  async cancel(options: CallOptions = {}): Promise<Job> {
    return await this.#jobs.cancel(this.jobId, options);
  }

  /** No further chunk is begun until `resume`. */
  async pause(options: CallOptions = {}): Promise<Job> {
    return await this.#jobs.pause(this.jobId, options);
  }

  async resume(options: CallOptions = {}): Promise<Job> {
    return await this.#jobs.resume(this.jobId, options);
  }

  /** A new batch of the items that did not succeed, as they were sent. Asked again, it gives the same one. */
  async retry(options: RetryOptions = {}): Promise<JobHandle<Row>> {
    return await this.#jobs.retry(this.jobId, options);
  }

  /** A new batch that gives the values before this one back; records that were changed since fail with `version_conflict`. */
  async revert(options: CallOptions = {}): Promise<JobHandle<Row>> {
    return await this.#jobs.revert(this.jobId, options);
  }

  /** Applies a dry run, exactly as it was shown; records that were changed since fail with `version_conflict`. */
  async apply(options: CallOptions = {}): Promise<JobHandle<Row>> {
    return await this.#jobs.apply(this.jobId, options);
  }
}

function matches({ status, error }: ItemResult<unknown>, wanted: ResultFilter): boolean {
  if (wanted.status !== undefined && status !== wanted.status) return false;
  return wanted.code === undefined || (error !== undefined && [wanted.code].flat().includes(error.code));
}
