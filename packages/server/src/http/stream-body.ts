import type { IncomingMessage } from 'node:http';
import { finished, type Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { RequestError } from '@docket/engine';
import type { Api } from './api.ts';
import { ApiError } from './problems.ts';

export type StreamType = 'application/x-ndjson' | 'text/csv';
export const streamTypes: readonly StreamType[] = ['application/x-ndjson', 'text/csv'];

/** A client that sends nothing for so long is gone, in milliseconds. */
const silenceMs = 60_000;
/** How long a client whose body is refused may go on sending it before it is cut off, in milliseconds. */
const drainMs = 5_000;

/** A body that is read as it arrives, no faster than whoever reads it asks for more. */
export class StreamBody {
  readonly type: StreamType;
  readonly #raw: IncomingMessage;
  readonly #gzip: boolean;

  constructor(type: StreamType, raw: IncomingMessage, gzip: boolean) {
    this.type = type;
    this.#raw = raw;
    this.#gzip = gzip;
  }

  /**
   * The bytes, uncompressed. Throws `malformed_body` that says after how many bytes the body broke off or was damaged, and
   * `overloaded` when `closing` aborts.
   */
  async *read(closing: AbortSignal): AsyncGenerator<Buffer> {
    const raw = this.#raw;
    let bytes = 0;
    let stopped: RequestError | undefined;
    const stop = (reason: RequestError) => {
      stopped ??= reason;
      raw.destroy(reason);
    };
    const onClosing = () => stop(new RequestError('overloaded', 'The server stops. Nothing was applied.'));
    const onSilence = () =>
      stop(new RequestError('malformed_body', `The upload broke off: nothing came for ${silenceMs / 1000} s.`));
    if (closing.aborted) onClosing();
    closing.addEventListener('abort', onClosing);
    raw.setTimeout(silenceMs, onSilence);
    const source = this.#gzip ? unzip(raw) : raw;
    try {
      // why not destroyed: the answer goes out on the same connection
      for await (const piece of source.iterator({ destroyOnReturn: false })) {
        bytes += (piece as Buffer).length;
        yield piece as Buffer;
      }
    } catch (error) {
      if (stopped) throw stopped;
      const isZlib = /^(Z_|ERR_ZLIB)/.test((error as NodeJS.ErrnoException).code ?? '');
      const what = isZlib && !raw.errored ? 'The gzip data is damaged or cut off' : 'The upload broke off';
      throw new RequestError('malformed_body', `${what} after ${bytes} bytes of content. Nothing was applied.`, {
        cause: error,
      });
    } finally {
      closing.removeEventListener('abort', onClosing);
      raw.setTimeout(0);
      raw.socket.off('timeout', onSilence);
    }
  }

  /** Throws away what is left of a body that is refused, so that its sender comes to read the answer. */
  async drain(): Promise<void> {
    const raw = this.#raw;
    if (raw.readableEnded || raw.destroyed) return;
    raw.unpipe();
    // why: an iterator that has just returned lets go of its stream a tick later
    await delay(0);
    const over = new Promise<void>((resolve) => finished(raw, () => resolve()));
    raw.resume();
    await Promise.race([over, delay(drainMs, undefined, { ref: false })]);
  }
}

function unzip(raw: IncomingMessage): Readable {
  const unzipped = createGunzip();
  raw.pipe(unzipped);
  finished(raw, (error) => {
    if (error) unzipped.destroy(error);
  });
  return unzipped;
}

/** Makes the routes of this scope take NDJSON and CSV as they arrive, also compressed by gzip. */
export function readStreamBodies(scope: Api): void {
  scope.addContentTypeParser([...streamTypes], (request, raw, done) => {
    try {
      const [type = '', ...parameters] = (request.headers['content-type'] ?? '').toLowerCase().split(';');
      refuseOtherCharset(parameters);
      const gzip = isGzip(request.headers['content-encoding']);
      done(null, new StreamBody(type.trim() as StreamType, raw as IncomingMessage, gzip));
    } catch (error) {
      done(error as Error, undefined);
    }
  });
}

function refuseOtherCharset(parameters: readonly string[]): void {
  const charset = parameters.map((one) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/.exec(one)?.[1]).find(Boolean);
  if (charset === undefined || charset === 'utf-8' || charset === 'utf8' || charset === 'us-ascii') return;
  throw new ApiError('unsupported_media_type', `The body is said to be in ${charset}. Send it in UTF-8.`);
}

function isGzip(encoding: string | undefined): boolean {
  const name = encoding?.trim().toLowerCase() ?? 'identity';
  if (name === 'identity') return false;
  if (name === 'gzip' || name === 'x-gzip') return true;
  const detail = `The body has the Content-Encoding ${JSON.stringify(name)}. Send it as gzip, or uncompressed.`;
  throw new ApiError('unsupported_media_type', detail, { headers: { 'accept-encoding': 'gzip, identity' } });
}
