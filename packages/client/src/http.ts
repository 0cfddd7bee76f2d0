export interface DocketOptions {
  /** Where the server is, `http://127.0.0.1:3000`. */
  url: string;
  apiKey: string;
  /** Milliseconds for one attempt; default 90,000 (the server waits up to 60 s where it is asked to). */
  timeoutMs?: number;
  /** Attempts at a request that fails for a passing reason; default 4. */
  attempts?: number;
  fetch?: typeof globalThis.fetch;
}

export interface Request {
  method: 'GET' | 'POST' | 'PATCH';
  path: string;
  query?: Record<string, string | number | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** A request that the server refused, with the stable code to branch on and the id to quote to support. */
export class DocketError extends Error {
  override readonly name = 'DocketError';
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  /** The whole RFC 9457 problem document. */
  readonly problem: Record<string, unknown>;

  constructor(status: number, problem: Record<string, unknown>, requestId: string | null) {
    super(typeof problem.detail === 'string' ? problem.detail : `The server answered ${status}.`);
    this.status = status;
    this.code = typeof problem.code === 'string' ? problem.code : 'unknown';
    this.requestId = requestId;
    this.problem = problem;
  }
}

const passing = new Set([429, 502, 503, 504]);

// why: a 409 that says when to come back is an earlier attempt of the same request, still being processed
function isPassing(response: Response): boolean {
  return passing.has(response.status) || (response.status === 409 && response.headers.has('retry-after'));
}

/**
 * Sends requests, and again those that failed for a passing reason (network, 429, 502-504), after the time that the server
 * names or a growing one. Every POST and PATCH carries an idempotency key that is kept over its attempts, so that none
 * is applied twice.
 */
export class Http {
  readonly #options: Required<DocketOptions>;

  constructor(options: DocketOptions) {
    this.#options = { timeoutMs: 90_000, attempts: 4, fetch: globalThis.fetch.bind(globalThis), ...options };
  }

  async send<Body>(request: Request): Promise<{ status: number; body: Body; headers: Headers }> {
    const url = this.#urlOf(request);
    const headers: Record<string, string> = {
      authorization: `Bearer ${this.#options.apiKey}`,
      accept: 'application/json',
    };
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    if (request.method !== 'GET') headers['idempotency-key'] = `"${crypto.randomUUID()}"`;
    Object.assign(headers, request.headers);
    const init = {
      method: request.method,
      headers,
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
    };
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= this.#options.attempts;
      const outcome = await this.#attempt(url, init, request.signal).catch((error: unknown) => {
        if (last || request.signal?.aborted) throw error;
        return undefined;
      });
      if (outcome && (last || !isPassing(outcome))) return await read<Body>(outcome);
      await outcome?.body?.cancel();
      await pause(waitMs(outcome, attempt), request.signal);
    }
  }

  #attempt(url: string, init: RequestInit, signal: AbortSignal | undefined): Promise<Response> {
    const timeout = AbortSignal.timeout(this.#options.timeoutMs);
    return this.#options.fetch(url, { ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  }

  #urlOf({ path, query }: Request): string {
    const url = new URL(`/api/v1${path}`, this.#options.url);
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    return url.href;
  }
}

async function read<Body>(response: Response): Promise<{ status: number; body: Body; headers: Headers }> {
  const text = await response.text();
  const body = parse(text);
  if (response.ok) return { status: response.status, body: body as Body, headers: response.headers };
  const problem =
    typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : { detail: text.slice(0, 500) };
  throw new DocketError(response.status, problem, response.headers.get('x-request-id'));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function waitMs(response: Response | undefined, attempt: number): number {
  const seconds = Number(response?.headers.get('retry-after'));
  if (response?.headers.has('retry-after') && Number.isFinite(seconds)) return Math.min(seconds, 60) * 1000;
  return Math.min(250 * 2 ** attempt, 8_000) * (0.5 + Math.random() / 2);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', aborted, { once: true });
    function done(): void {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }
    function aborted(): void {
      clearTimeout(timer);
      reject(signal?.reason);
    }
  });
}
