import { backOffMs } from './clock.ts';
import { DocketError, JobTimeoutError } from './errors.ts';
import { readEvents } from './event-stream.ts';
import { chunksOf, type Http, isPassing } from './http.ts';
import { endOf, type Job, type JobEnd, type JobState } from './job.ts';

export interface WaitOptions {
  /** How long to wait in all, in milliseconds; then JobTimeoutError, and the job goes on. Default: 60,000. Infinity: to the end. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Told how the job stands, as often as the server says so (every two seconds where it must be asked), and at its end. */
  onProgress?: (state: JobState) => void;
}

const defaultTimeoutMs = 60_000;
/** Streams that break without a single event, before they are given up. */
const mostBrokenStreams = 3;
/** Long polls that fail, before asking without waiting. */
const mostFailedPolls = 2;
/** Seconds that a long poll waits. */
const longPoll = { silent: 30, withProgress: 2 };
const backOff = { first: 2_000, most: 30_000 };

/**
 * Waits until a job has ended: by its event stream; where there is none or it keeps breaking, by long poll; where those fail, by
 * asking after 2, 4, 8 s and so on, each with full jitter. Rejects with JobTimeoutError, the signal's reason, or the server's
 * refusal.
 */
export async function waitForEnd(http: Http, jobId: string, options: WaitOptions = {}): Promise<JobEnd> {
  const { timeoutMs = defaultTimeoutMs, signal: given } = options;
  given?.throwIfAborted();
  const late = new AbortController();
  const cancel = http.clock.after(timeoutMs, () => late.abort());
  const signal = given ? AbortSignal.any([given, late.signal]) : late.signal;
  const follower = new Follower(http, jobId, signal, options.onProgress);
  try {
    return (await follower.byEvents()) ?? (await follower.byLongPoll()) ?? (await follower.byAsking());
  } catch (error) {
    given?.throwIfAborted();
    throw late.signal.aborted ? new JobTimeoutError(jobId, timeoutMs) : error;
  } finally {
    cancel();
  }
}

/** Each way gives the end, or undefined when another way must be tried. */
class Follower {
  readonly #http: Http;
  readonly #path: string;
  readonly #signal: AbortSignal;
  readonly #onProgress: ((state: JobState) => void) | undefined;
  #lastEventId: string | undefined;

  constructor(http: Http, jobId: string, signal: AbortSignal, onProgress: ((state: JobState) => void) | undefined) {
    this.#http = http;
    this.#path = jobPath(jobId);
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  async byEvents(): Promise<JobEnd | undefined> {
    for (let broken = 0; broken < mostBrokenStreams; broken++) {
      const before = this.#lastEventId;
      try {
        const outcome = await this.#readStream();
        if (outcome === 'none') return undefined;
        if (outcome) return outcome;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (error instanceof DocketError && isNoStream(error)) return undefined;
        if (!isPassing(error)) throw error;
      }
      // why: a stream that has told something is worth resuming, however often it breaks
      if (this.#lastEventId !== before) broken = 0;
      await this.#pause(broken);
    }
    return undefined;
  }

  async #readStream(): Promise<JobEnd | 'none' | undefined> {
    const request = {
      method: 'GET' as const,
      path: `${this.#path}/events`,
      headers: {
        accept: 'text/event-stream',
        ...(this.#lastEventId === undefined ? {} : { 'last-event-id': this.#lastEventId }),
      },
      signal: this.#signal,
      maxRetries: 0,
    };
    return await this.#http.request(request, async (response, touch) => {
      if (response.status === 204) return await this.#ask();
      const isStream = /^text\/event-stream\b/.test(response.headers.get('content-type') ?? '');
      if (!isStream || !response.body) {
        await response.body?.cancel();
        return 'none';
      }
      for await (const { event, data, id } of readEvents(watched(chunksOf(response.body), touch))) {
        this.#lastEventId = id;
        if (event === 'progress') this.#tell(JSON.parse(data) as JobState);
        if (event === 'end') return await this.#endOf(JSON.parse(data) as Job);
      }
      return undefined;
    });
  }

  async byLongPoll(): Promise<JobEnd | undefined> {
    const seconds = this.#onProgress ? longPoll.withProgress : longPoll.silent;
    let early = 0;
    for (let failed = 0; failed < mostFailedPolls; ) {
      const asked = this.#http.clock.now();
      try {
        const end = await this.#ask(seconds);
        if (end) return end;
        failed = 0;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!isPassing(error)) throw error;
        failed += 1;
      }
      // why: a server that is stopping, or somebody in between, may answer at once; it must not be asked in a circle
      const tooEarly = this.#http.clock.now() - asked < (seconds * 1_000) / 2;
      if (tooEarly) await this.#pause(early++);
      else early = 0;
    }
    return undefined;
  }

  async byAsking(): Promise<JobEnd> {
    for (let attempt = 0; ; attempt++) {
      await this.#pause(attempt);
      try {
        const end = await this.#ask();
        if (end) return end;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (!isPassing(error)) throw error;
      }
    }
  }

  async #ask(wait?: number): Promise<JobEnd | undefined> {
    const { body } = await this.#http.send<JobState>({
      method: 'GET',
      path: `${this.#path}/status`,
      query: { wait },
      signal: this.#signal,
      maxRetries: 0,
    });
    if (body.outcome === null) this.#tell(body);
    return body.outcome === null ? undefined : await this.#endOf(body);
  }

  async #endOf(state: JobState & Pick<Job, 'error'>): Promise<JobEnd | undefined> {
    this.#tell(state);
    // why: how a job stands does not say why it could not run
    const told = state.status !== 'failed' || state.error !== undefined;
    return endOf(told ? state : await this.#http.get<Job>(this.#path, {}, this.#signal));
  }

  #tell(state: JobState): void {
    this.#onProgress?.(state);
  }

  async #pause(attempt: number): Promise<void> {
    await this.#http.clock.sleep(backOffMs(this.#http.clock, attempt, backOff), this.#signal);
  }
}

export function jobPath(jobId: string): string {
  return `/jobs/${encodeURIComponent(jobId)}`;
}

/** The server, or somebody in between, has no event streams. */
function isNoStream({ status, code }: DocketError): boolean {
  if (code === 'job_not_found') return false;
  return status === 404 || status === 405 || status === 406 || status === 501;
}

async function* watched(chunks: AsyncIterable<Uint8Array>, touch: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    touch();
    yield chunk;
  }
}
