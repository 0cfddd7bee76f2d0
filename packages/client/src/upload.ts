import type { BatchOptions, StreamedOptions } from './batch.ts';

/** Items that are given one by one. */
export type ItemSource<Item> = Iterable<Item> | AsyncIterable<Item>;

/** A body of items, one a line, that is made as it is sent. */
export interface Upload {
  headers: Readonly<Record<string, string>>;
  /** Whether it can be made once more: not when items were read from a source that gives them once. */
  readonly canRepeat: boolean;
  /** The failure of the source, once there is one. */
  readonly failure: { reason: unknown } | undefined;
  /** More time than usual, in milliseconds, where nothing tells how far the sending has come. */
  readonly allowanceMs: number;
  open(touch: () => void): BodyInit;
}

/** A piece is sent when it is so long, or so old: a server takes a silent sender for gone. */
const pieceChars = 65_536;
const longestPieceMs = 1_000;
/** The slowest network that a Blob is sent over, in bytes a millisecond. */
const slowest = 50;

interface UploadOptions {
  gzip: boolean;
  /** The source gives its items each time anew. */
  repeatable: boolean;
}

const gzipHeaders = { 'content-encoding': 'gzip' };
const ndjsonHeaders = { 'content-type': 'application/x-ndjson' };

/** Sends the items as they are read, no faster than the network takes them. */
export function streamItems(openSource: () => ItemSource<unknown>, { gzip, repeatable }: UploadOptions): Upload {
  let begun = false;
  let failure: { reason: unknown } | undefined;
  return {
    headers: { ...ndjsonHeaders, ...(gzip ? gzipHeaders : {}) },
    allowanceMs: 0,
    get canRepeat() {
      return repeatable || !begun;
    },
    get failure() {
      return failure;
    },
    open: (touch) =>
      encode(openSource, {
        gzip,
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
  { gzip, signal }: { gzip: boolean; signal: AbortSignal | undefined },
): Promise<Upload> {
  let failure: { reason: unknown } | undefined;
  const onFailure = (reason: unknown) => {
    failure = { reason };
  };
  const whole = new Response(encode(openSource, { gzip, onRead: () => signal?.throwIfAborted(), onFailure })).blob();
  const blob = await whole.catch((error) => {
    throw failure ? failure.reason : error;
  });
  return {
    headers: { ...ndjsonHeaders, ...(gzip ? gzipHeaders : {}) },
    canRepeat: true,
    failure: undefined,
    allowanceMs: blob.size / slowest,
    open: () => blob,
  };
}

interface EncodeOptions {
  gzip: boolean;
  onRead(): void;
  onFailure(reason: unknown): void;
}

function encode(
  openSource: () => ItemSource<unknown>,
  { gzip, onRead, onFailure }: EncodeOptions,
): ReadableStream<BufferSource> {
  const encoder = new TextEncoder();
  let items: Iterator<unknown> | AsyncIterator<unknown> | undefined;
  const lines = new ReadableStream<BufferSource>(
    {
      async pull(controller) {
        const flushAt = Date.now() + longestPieceMs;
        try {
          items ??= iteratorOf(openSource());
          let text = '';
          while (text.length < pieceChars && Date.now() < flushAt) {
            onRead();
            const next = await items.next();
            if (next.done) {
              if (text !== '') controller.enqueue(encoder.encode(text));
              controller.close();
              return;
            }
            text += `${JSON.stringify(next.value)}\n`;
          }
          controller.enqueue(encoder.encode(text));
        } catch (error) {
          onFailure(error);
          controller.error(error);
        }
      },
      async cancel() {
        await items?.return?.();
      },
    },
    // why 0: nothing is read from a source that gives its items once before there is a connection
    { highWaterMark: 0 },
  );
  return gzip
    ? lines.pipeThrough(new CompressionStream('gzip') as ReadableWritablePair<BufferSource, BufferSource>)
    : lines;
}

function iteratorOf(source: ItemSource<unknown>): Iterator<unknown> | AsyncIterator<unknown> {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
}

/** The options of a streamed batch; the query has room for no others. Throws TypeError for one that a stream cannot keep. */
export function streamedOptions(options: BatchOptions): StreamedOptions {
  const { mode, atomic, dryRun, maxErrors, return: returned, priority, label } = options;
  if (mode === 'sync' || atomic) {
    const name = atomic ? '`atomic`' : '`mode: "sync"`';
    throw new TypeError(`${name} is for batches that are sent as an array of up to 1,000 items, not for a stream.`);
  }
  return Object.fromEntries(
    Object.entries({ dryRun, maxErrors, return: returned, priority, label }).filter(([, value]) => value !== undefined),
  );
}
