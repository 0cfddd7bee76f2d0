import type { BatchOptions, StreamedOptions } from './batch.ts';

/** Items that are given one by one. */
export type ItemSource<Item> = Iterable<Item> | AsyncIterable<Item>;

/** A file of items, as it stands: CSV with a header, or NDJSON with one item a line. */
export interface ItemFile {
  type: 'text/csv' | 'application/x-ndjson';
  /** Its text or bytes, piece by piece; from a function that opens it, so that it can be sent again. */
  content: ItemSource<Uint8Array | string> | (() => ItemSource<Uint8Array | string>);
}

/** A body of items, one a line, that is made as it is sent. */
export interface Upload {
  headers: Readonly<Record<string, string>>;
  /** Whether it can be made once more: not when items were read from a source that gives them once. */
  readonly canRepeat: boolean;
  /** The failure of the source, once there is one. */
  readonly failure: { reason: unknown } | undefined;
  /** More time than usual, in milliseconds, where nothing tells how far the sending has come. */
  readonly allowanceMs: number;
  open(sending: Sending): BodyInit;
}

/** One attempt to send an upload. */
interface Sending {
  /** To be called with each sign of life. */
  touch(): void;
  /** Aborts when nothing more is to be sent, however that came. */
  over: AbortSignal;
}

/** A piece is sent when it is so long, or so old: a server takes a silent sender for gone. */
const pieceChars = 65_536;
const longestPieceMs = 1_000;
/** The slowest network that a Blob is sent over, in bytes a millisecond. */
const slowest = 50;

type Source = Iterator<unknown> | AsyncIterator<unknown>;

/** How a source becomes bytes. */
export interface Format {
  type: string;
  /** The next bytes, at least one unless the source has ended. */
  read(source: Source, onRead: () => void): Promise<{ bytes: Uint8Array; done: boolean }>;
}

interface UploadOptions {
  format: Format;
  gzip: boolean;
  /** The source gives its items each time anew. */
  repeatable: boolean;
}

function headersOf({ type }: Format, gzip: boolean): Record<string, string> {
  return { 'content-type': type, ...(gzip ? { 'content-encoding': 'gzip' } : {}) };
}

/** Sends the items as they are read, no faster than the network takes them. */
export function streamItems(
  openSource: () => ItemSource<unknown>,
  { format, gzip, repeatable }: UploadOptions,
): Upload {
  let begun = false;
  let failure: { reason: unknown } | undefined;
  return {
    headers: headersOf(format, gzip),
    allowanceMs: 0,
    get canRepeat() {
      return repeatable || !begun;
    },
    get failure() {
      return failure;
    },
    open: ({ touch, over }) =>
      encode(openSource, {
        format,
        gzip,
        over,
        onRead: () => {
          begun = true;
          touch();
        },
        onFailure: (reason) => {
          failure = { reason };
        },
      }),
  };
}

/** Puts the items together first: for runtimes that cannot send a stream. */
export async function bufferItems(
  openSource: () => ItemSource<unknown>,
  { format, gzip, signal }: { format: Format; gzip: boolean; signal: AbortSignal | undefined },
): Promise<Upload> {
  let failure: { reason: unknown } | undefined;
  const onFailure = (reason: unknown) => {
    failure = { reason };
  };
  const whole = new Response(encode(openSource, { format, gzip, over: signal, onRead: () => {}, onFailure })).blob();
  const blob = await whole.catch((error) => {
    signal?.throwIfAborted();
    throw failure ? failure.reason : error;
  });
  return {
    headers: headersOf(format, gzip),
    canRepeat: true,
    failure: undefined,
    allowanceMs: blob.size / slowest,
    open: () => blob,
  };
}

interface EncodeOptions {
  format: Format;
  gzip: boolean;
  over: AbortSignal | undefined;
  onRead(): void;
  onFailure(reason: unknown): void;
}

function encode(
  openSource: () => ItemSource<unknown>,
  { format, gzip, over, onRead, onFailure }: EncodeOptions,
): ReadableStream<BufferSource> {
  let items: Source | undefined;
  // why not left to the runtime: not every one lets go of the body when the answer comes before its end
  const close = async () => {
    over?.removeEventListener('abort', close);
    // why caught: nobody is left to be told that a source cannot be closed
    try {
      await items?.return?.();
    } catch {}
  };
  over?.addEventListener('abort', close);
  const lines = new ReadableStream<BufferSource>(
    {
      async pull(controller) {
        try {
          items ??= iteratorOf(openSource());
          const { bytes, done } = await format.read(items, onRead);
          over?.throwIfAborted();
          if (bytes.length > 0) controller.enqueue(bytes as BufferSource);
          if (!done) return;
          over?.removeEventListener('abort', close);
          controller.close();
        } catch (error) {
          if (!over?.aborted) onFailure(error);
          await close();
          controller.error(error);
        }
      },
      cancel: close,
    },
    // why 0: nothing is read from a source that gives its items once before there is a connection
    { highWaterMark: 0 },
  );
  return gzip
    ? lines.pipeThrough(new CompressionStream('gzip') as ReadableWritablePair<BufferSource, BufferSource>)
    : lines;
}

const encoder = new TextEncoder();

/** Items, as a line of JSON each. */
export const asLines: Format = {
  type: 'application/x-ndjson',
  async read(items, onRead) {
    const sendAt = Date.now() + longestPieceMs;
    let text = '';
    while (text.length < pieceChars && Date.now() < sendAt) {
      onRead();
      const next = await items.next();
      if (next.done) return { bytes: encoder.encode(text), done: true };
      text += `${JSON.stringify(next.value)}\n`;
    }
    return { bytes: encoder.encode(text), done: false };
  },
};

/** The pieces of a file of this type, as they are. */
export function asFile(type: ItemFile['type']): Format {
  return {
    type,
    async read(pieces, onRead) {
      for (;;) {
        onRead();
        const next = await pieces.next();
        if (next.done) return { bytes: new Uint8Array(), done: true };
        const piece = next.value as Uint8Array | string;
        if (piece.length > 0) return { bytes: typeof piece === 'string' ? encoder.encode(piece) : piece, done: false };
      }
    },
  };
}

function iteratorOf(source: ItemSource<unknown>): Source {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
}

/** The options of a streamed batch; the query has room for no others. Throws TypeError for one that a stream cannot keep. */
export function streamedOptions(options: BatchOptions): StreamedOptions {
  const { mode, atomic, dryRun, maxErrors, return: returned, priority, label, callbackUrl } = options;
  if (mode === 'sync' || atomic) {
    const name = atomic ? '`atomic`' : '`mode: "sync"`';
    throw new TypeError(`${name} is for batches that are sent as an array of up to 1,000 items, not for a stream.`);
  }
  return Object.fromEntries(
    Object.entries({ dryRun, maxErrors, return: returned, priority, label, callbackUrl }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}
