import { backOffMs, type Clock, systemClock, Watchdog } from './clock.ts';
import { DocketError, NetworkError, type Problem, TimeoutError } from './errors.ts';
import type { Upload } from './upload.ts';

export interface DocketOptions {
  /** Where the server is: `https://docket.example.com`. Default, where there is an environment: `DOCKET_URL`. */
  baseUrl?: string;
  /** Default, where there is an environment: `DOCKET_API_KEY`. */
  apiKey?: string;
  /** How long an attempt may go without a sign of life, in milliseconds. Default: 90,000 (the server itself waits up to 60 s). */
  timeoutMs?: number;
  /** How often a request is sent again that failed for a passing reason. Default: 3. */
  maxRetries?: number;
  /** Further headers for every request. */
  headers?: Readonly<Record<string, string>>;
  /**
   * Whether large batches go up as they are read. Default: true, but in browsers, which stream over HTTP/2 at best: there they are
   * put together in a Blob first.
   */
  streamUploads?: boolean;
  fetch?: typeof globalThis.fetch;
  /** For tests. */
  clock?: Clock;
}

export type Query = Readonly<Record<string, QueryValue | readonly QueryValue[] | undefined>>;
type QueryValue = string | number | boolean | null;

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  path: string;
  query?: Query;
  /** The body, as JSON already. */
  json?: string | undefined;
  upload?: Upload;
  headers?: Readonly<Record<string, string>>;
  /** The key under which the server knows the request again. */
  idempotencyKey?: string;
  /** A POST that may be sent twice without a key. */
  repeatable?: boolean;
  signal?: AbortSignal | undefined;
  maxRetries?: number;
}

export interface Answer<Body> {
  status: number;
  body: Body;
}

/** Reads the answer; `touch` is to be called with each sign of life, `rest` when the next one is for the caller to give. */
type Reader<Result> = (response: Response, touch: () => void, rest: () => void) => Promise<Result>;

const passing = new Set([429, 502, 503, 504]);
/** A server that wants more patience than this, in milliseconds, is not waited for: the caller must know. */
const longestRetryAfter = 60_000;
const backOff = { first: 500, most: 8_000 };

/** Whether the same request may succeed a little later. */
export function isPassing(error: unknown): error is DocketError {
  if (error instanceof NetworkError || error instanceof TimeoutError) return true;
  if (!(error instanceof DocketError) || error.status === undefined) return false;
  return passing.has(error.status) || error.code === 'idempotency_in_progress';
}

/**
 * Sends requests, and those that may be repeated again when they failed for a passing reason (network, time, 429, 502 to 504, an
 * earlier attempt still being processed), after the time that the server names or a growing random one.
 */
export class Http {
  readonly clock: Clock;
  readonly streamUploads: boolean;
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #timeoutMs: number;
  readonly #maxRetries: number;
  readonly #fetch: typeof globalThis.fetch;

  constructor(options: DocketOptions) {
    const baseUrl = options.baseUrl ?? fromEnvironment('DOCKET_URL');
    const apiKey = options.apiKey ?? fromEnvironment('DOCKET_API_KEY');
    if (!baseUrl || !/^https?:\/\//.test(baseUrl) || !URL.canParse(baseUrl))
      throw new TypeError(missing('baseUrl', 'DOCKET_URL', baseUrl));
    if (!apiKey) throw new TypeError(missing('apiKey', 'DOCKET_API_KEY', undefined));
    this.#base = `${baseUrl.replace(/\/+$/, '')}/api/v1`;
    this.#headers = { authorization: `Bearer ${apiKey}`, ...options.headers };
    this.#timeoutMs = options.timeoutMs ?? 90_000;
    this.#maxRetries = options.maxRetries ?? 3;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.clock = options.clock ?? systemClock;
    this.streamUploads = options.streamUploads ?? !isBrowser();
  }

  /** The answer's JSON. Rejects with DocketError, or with the signal's reason. */
  async send<Body>(request: ApiRequest): Promise<Answer<Body>> {
    return await this.request(request, async (response, touch) => {
      const text = await readText(response, touch);
      if (text === '') return { status: response.status, body: undefined as Body };
      const body = parseJson(text);
      if (body === undefined) throw unreadable(request, response);
      return { status: response.status, body: body as Body };
    });
  }

  async get<Body>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Body> {
    return (await this.send<Body>({ method: 'GET', path, query, signal })).body;
  }

  /** The rows of all pages, each page asked for when its first row is. */
  async *pages<Row>(path: string, query: Query, signal?: AbortSignal): AsyncGenerator<Row, void, undefined> {
    let cursor: string | null = null;
    do {
      const page: { items: Row[]; nextCursor: string | null } = await this.get(
        path,
        cursor === null ? query : { ...query, cursor },
        signal,
      );
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  /** What `read` makes of an answer of success. */
  async request<Result>(request: ApiRequest, read: Reader<Result>): Promise<Result> {
    const retries = request.maxRetries ?? this.#maxRetries;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#attempt(request, read);
      } catch (error) {
        request.signal?.throwIfAborted();
        // why: an earlier attempt has removed it, and only its answer was lost
        if (attempt > 0 && isGone(request, error)) return await read(new Response(null, { status: 204 }), noop, noop);
        const wait = attempt < retries && isRepeatable(request) ? this.#waitMs(error, attempt) : undefined;
        if (wait === undefined) throw error;
        await this.clock.sleep(wait, request.signal);
      }
    }
  }

  #waitMs(error: unknown, attempt: number): number | undefined {
    if (!isPassing(error)) return undefined;
    const { retryAfterMs = 0 } = error;
    if (retryAfterMs > longestRetryAfter) return undefined;
    return Math.max(retryAfterMs, backOffMs(this.clock, attempt, backOff));
  }

  async #attempt<Result>(request: ApiRequest, read: Reader<Result>): Promise<Result> {
    const { method, path, json, upload } = request;
    const what = `${method} ${path}`;
    const patience = this.#timeoutMs + (upload?.allowanceMs ?? 0);
    const watchdog = new Watchdog(this.clock, patience);
    const signal = request.signal ? AbortSignal.any([request.signal, watchdog.signal]) : watchdog.signal;
    const over = new AbortController();
    try {
      const response = await this.#fetch(this.#urlOf(request), {
        method,
        headers: this.#headersOf(request),
        signal,
        ...(json === undefined ? {} : { body: json }),
        ...(upload && {
          body: upload.open({ touch: watchdog.touch, over: AbortSignal.any([signal, over.signal]) }),
          duplex: 'half',
        }),
      });
      watchdog.touch();
      if (!response.ok) throw problemOf(response, await readText(response, watchdog.touch));
      return await read(response, watchdog.touch, watchdog.rest);
    } catch (error) {
      request.signal?.throwIfAborted();
      // why first: when the source of an upload fails, the network fails because of it
      if (upload?.failure) throw upload.failure.reason;
      if (error instanceof DocketError) throw error;
      throw watchdog.signal.aborted ? new TimeoutError(what, patience) : new NetworkError(what, error);
    } finally {
      watchdog.stop();
      over.abort();
    }
  }

  #headersOf({ json, upload, headers, idempotencyKey }: ApiRequest): Record<string, string> {
    return {
      accept: 'application/json',
      ...(json === undefined ? {} : { 'content-type': 'application/json' }),
      ...upload?.headers,
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': quoted(idempotencyKey) }),
      ...this.#headers,
      ...headers,
    };
  }

  #urlOf({ path, query }: ApiRequest): string {
    const url = new URL(this.#base + path);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value === undefined) continue;
      for (const one of Array.isArray(value) ? value : [value])
        url.searchParams.append(name, one === null ? '' : String(one));
    }
    return url.href;
  }
}

const noop = () => {};

function isGone({ method }: ApiRequest, error: unknown): boolean {
  return method === 'DELETE' && error instanceof DocketError && error.status === 404;
}

function isRepeatable({ method, idempotencyKey, repeatable, upload }: ApiRequest): boolean {
  if (upload && !upload.canRepeat) return false;
  return repeatable === true || idempotencyKey !== undefined || (method !== 'POST' && method !== 'PATCH');
}

/** A structured-field String (RFC 8941). */
function quoted(key: string): string {
  return `"${key.replace(/["\\]/g, '\\$&')}"`;
}

async function readText(response: Response, touch: () => void): Promise<string> {
  if (!response.body) return '';
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of chunksOf(response.body)) {
    touch();
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}

/** The chunks of a stream; not every browser can iterate over one. */
export async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // why caught: the stream may have failed, which its reader was told already
    await reader.cancel().catch(() => {});
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemOf(response: Response, text: string): DocketError {
  const { status, headers } = response;
  const body = parseJson(text);
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>;
  const detail = problem.detail ?? `The server answered ${status}${text === '' ? '' : `: ${text.slice(0, 500)}`}`;
  return new DocketError(problem.code ?? `http_${status}`, detail, {
    status,
    requestId: headers.get('x-request-id'),
    retryAfterMs: retryAfterMs(headers.get('retry-after')),
    problem,
  });
}

/** Seconds or a date (RFC 9110), as milliseconds from now. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function unreadable({ method, path }: ApiRequest, { status, headers }: Response): DocketError {
  const type = headers.get('content-type') ?? 'no type';
  return new DocketError(
    'unreadable_answer',
    `${method} ${path} was answered with ${type} that is no JSON. Is \`baseUrl\` a Docket server?`,
    { status, requestId: headers.get('x-request-id') },
  );
}

function missing(option: string, variable: string, value: string | undefined): string {
  const problem = value
    ? `\`${option}\` is ${JSON.stringify(value)}, which is no http or https URL`
    : `There is no \`${option}\``;
  return `${problem}: give it to new Docket({...}), or set ${variable} in the environment.`;
}

function fromEnvironment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] || undefined;
}

function isBrowser(): boolean {
  return 'document' in globalThis || 'WorkerGlobalScope' in globalThis;
}
