import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type AttemptOutcome, parseRetryAfter } from './retries.ts';
import { checkUrl, type Resolve, resolveTarget, type TargetPolicy, TargetRefused } from './targets.ts';

export interface SendOptions {
  policy: TargetPolicy;
  resolve: Resolve;
  /** For the whole attempt: name, connection, request, answer. */
  timeoutMs: number;
}

export interface Attempt extends AttemptOutcome {
  durationMs: number;
  /** The beginning of the answer's body. */
  answer: string | null;
}

/** Bytes of an answer that are read, so that the receiver can finish it; of these, so many are kept. */
const readBytes = 64 * 1024;
const keptBytes = 1_024;

/**
 * One attempt to deliver. Never throws: whatever the receiver does becomes an outcome, in bounded time and memory. What the receiver
 * has answered counts once its status has come; a redirect is not followed.
 */
export async function attemptDelivery(
  { url: text, headers, body }: { url: string; headers: Record<string, string>; body: string },
  { policy, resolve, timeoutMs }: SendOptions,
  stopping: AbortSignal,
): Promise<Attempt> {
  const begun = performance.now();
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([timeout, stopping]);
  try {
    const url = checkUrl(text, policy);
    const addresses = await untilAborted(resolveTarget(url, policy, { resolve, signal }), signal);
    const response = await send(url, { addresses, headers, body, signal });
    const status = response.statusCode ?? 0;
    const answer = await readBeginning(response);
    const retryAfter = parseRetryAfter(response.headers['retry-after'], Date.now());
    return { status, error: describeStatus(status), retryAfter, answer, durationMs: since(begun) };
  } catch (error) {
    const reason = timeout.aborted
      ? `There was no answer within ${timeoutMs / 1_000} s.`
      : describeError(error as Error);
    return { status: null, error: reason, retryAfter: undefined, answer: null, durationMs: since(begun) };
  }
}

function since(begun: number): number {
  return Math.round(performance.now() - begun);
}

function describeStatus(status: number): string | null {
  if (status >= 200 && status < 300) return null;
  return status >= 300 && status < 400
    ? `The receiver answered ${status}; redirects are not followed.`
    : `The receiver answered ${status}.`;
}

function describeError(error: NodeJS.ErrnoException): string {
  if (error instanceof TargetRefused) return `The URL is refused. ${error.message}`;
  // why: a connection that tried several addresses fails with all their errors
  const [cause = error] = error instanceof AggregateError ? (error.errors as NodeJS.ErrnoException[]) : [];
  const code = cause.code === undefined || cause.message.includes(cause.code) ? '' : ` (${cause.code})`;
  return `The receiver could not be reached: ${cause.message}${code}.`;
}

function untilAborted<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

interface Sent {
  addresses: { address: string; family: number }[];
  headers: Record<string, string>;
  body: string;
  signal: AbortSignal;
}

/** Resolves with the head of the answer. */
function send(url: URL, { addresses, headers, body, signal }: Sent): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = start(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      // why no agent: a connection that is kept may be closed by the receiver just as the next attempt uses it
      agent: false,
      signal,
      // why: only the addresses that were checked
      lookup: (_hostname, options, done) => {
        const [first] = addresses;
        if (options.all) done(null, addresses);
        else done(null, first?.address ?? '', first?.family ?? 4);
      },
    });
    request.on('error', reject);
    // why: one that asks for another protocol is closed without an error
    request.on('close', () => reject(new Error('the connection was closed')));
    request.on('response', resolve);
    request.end(body);
  });
}

/** Reads until the end, the bound or the end of the time, whichever is first. */
async function readBeginning(response: IncomingMessage): Promise<string> {
  const kept: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      if (bytes < keptBytes) kept.push(piece);
      bytes += piece.length;
      if (bytes >= readBytes) break;
    }
  } catch {
    // why: the status has come; what follows it changes nothing
  }
  response.destroy();
  // why: the database knows no text with NUL
  return Buffer.concat(kept).subarray(0, keptBytes).toString('utf8').replaceAll('\0', '\uFFFD');
}
