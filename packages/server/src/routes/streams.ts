import { createHash, type Hash } from 'node:crypto';
import {
  type BatchOperation,
  type BatchOptions,
  type Collection,
  type ItemRules,
  parseOptions,
  priorities,
} from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Deps } from '../http/api.ts';
import { readCsv } from '../http/csv.ts';
import { readNdjson } from '../http/ndjson.ts';
import { ApiError } from '../http/problems.ts';
import type { StreamBody } from '../http/stream-body.ts';
import { parseIdempotencyKey } from './idempotency.ts';
import { replyAccepted } from './job-view.ts';
import { newId } from './records.ts';
import { takeCallback } from './webhook-params.ts';

/** The options of a stream, which has no other place for them than the query. */
export const StreamOptions = Type.Partial(
  Type.Object({
    dryRun: Type.Boolean({ description: 'For streams: decide everything, change nothing.' }),
    maxErrors: Type.Integer({
      minimum: 1,
      maximum: 2_147_483_647,
      description: 'For streams: stop after so many failures.',
    }),
    return: Type.Enum(['representation', 'minimal'], {
      type: 'string',
      description: 'For streams: whether results hold the resource.',
    }),
    priority: Type.Enum([...priorities], { type: 'string', description: 'For streams: which jobs come first.' }),
    label: Type.String({ minLength: 1, description: 'For streams: your own name for the job, to find it by.' }),
    callbackUrl: Type.String({
      minLength: 1,
      maxLength: 2_048,
      description: 'For streams: is told the end of the job, once.',
    }),
  }),
);

interface Streamed {
  /** Throws where the request names none that there is; then the stream is not read. */
  collection: () => Collection<never>;
  operation: BatchOperation;
  body: StreamBody;
}

/** Takes a stream as a job: 202 once its last item has come. */
export async function answerStream(
  deps: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  { collection: findCollection, operation, body }: Streamed,
): Promise<object> {
  const { engine } = deps;
  try {
    const collection = findCollection();
    const { collection: _, ...given } = request.query as Static<typeof StreamOptions> & { collection?: string };
    const options = await takeCallback(deps, request, parseOptions(given, engine.limits, ''), '/callbackUrl');
    const rules: ItemRules = { collection, operation, limits: engine.limits, newId: () => newId(collection) };
    const hash = createHash('sha256').update(
      JSON.stringify([operation, collection.name, body.type, keptOptions(options)]),
    );
    const header = request.headers['idempotency-key'];
    const key = header === undefined ? undefined : parseIdempotencyKey(header, engine.limits.textLength);
    const read = body.read(deps.closing);
    const bytes = key === undefined ? read : hashed(read, hash);
    const items = body.type === 'text/csv' ? readCsv(bytes, rules) : readNdjson(bytes, rules);
    const { job, replayed } = await engine.submitStream(
      {
        ...request.caller,
        collection: collection.name,
        operation,
        options,
        ...(key === undefined ? {} : { idempotency: { key, payloadHash: () => hash.digest('hex') } }),
        ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
      },
      items,
    );
    if (replayed) reply.header('idempotency-replayed', 'true');
    return replyAccepted(reply, job);
  } catch (error) {
    await body.drain();
    reply.header('connection', 'close');
    throw error;
  }
}

function keptOptions({ dryRun, maxErrors, return: returned, priority, label, callbackUrl }: BatchOptions): unknown[] {
  return [dryRun, maxErrors ?? null, returned ?? null, priority, label ?? null, callbackUrl ?? null];
}

/** What a repeated request is compared by: the content, whether it was compressed or not. */
async function* hashed(bytes: AsyncIterable<Buffer>, hash: Hash): AsyncGenerator<Buffer> {
  for await (const piece of bytes) {
    hash.update(piece);
    yield piece;
  }
}

/** A JSON body has its options inside; in the query they would be passed over. */
export function refuseOptionsInQuery(request: FastifyRequest): void {
  const [name] = Object.keys(request.query as object);
  if (name === undefined) return;
  const message = `Options in the query are for streams (NDJSON, CSV). Put \`${name}\` into ${name === 'collection' ? 'the body' : '`options` of the body'}.`;
  throw new ApiError('unknown_option', message, { errors: [{ pointer: `/${name}`, message }] });
}
