import {
  type BatchOperation,
  type Collection,
  type Engine,
  type Item,
  type ItemResult,
  isJsonObject,
  type JsonObject,
  parseOptions,
} from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { idempotencyOf } from './idempotency.ts';
import { etagOf, versionsAllowed } from './preconditions.ts';

/** The body of a write of one record. Throws `malformed_body`, `batch_too_large`. */
export function readFields(engine: Engine, request: FastifyRequest): JsonObject {
  const { itemBytes } = engine.limits;
  if (request.bodyBytes > itemBytes) {
    throw new ApiError(
      'batch_too_large',
      `The body has ${request.bodyBytes} bytes; one record may have ${itemBytes}.`,
      {
        limit: itemBytes,
        actual: request.bodyBytes,
      },
    );
  }
  if (isJsonObject(request.body)) return request.body;
  const message =
    request.rawBody.length === 0 ? 'The request has no body. Send JSON.' : 'The body must be a JSON object of fields.';
  throw new ApiError('malformed_body', message, { errors: [{ pointer: '', message }] });
}

/**
 * The version that an update must find, by If-Match; undefined where any will do. Throws 412 `version_conflict` when no version
 * can match.
 */
export async function versionToFind(
  engine: Engine,
  request: FastifyRequest,
  { collection, id }: { collection: Collection<never>; id: string },
): Promise<number | undefined> {
  const allowed = versionsAllowed(request.headers['if-match']);
  if (allowed === undefined || allowed.length === 1) return allowed?.[0];
  const record = await engine.readRecord(request.caller.tenantId, collection.name, id);
  // why not refused here: a repeated request with an idempotency key must get its first answer, though the version is past
  if (allowed.length > 0) return allowed.find((version) => version === record?.version) ?? allowed[0];
  if (!record) throw notFound(collection, id);
  throw new ApiError(
    'version_conflict',
    `If-Match has no strong tag of a version; the record is at ${etagOf(record)}.`,
    {
      status: 412,
    },
  );
}

export function notFound(collection: Collection<never>, id: string): ApiError {
  const shown = id.length > 100 ? `${id.slice(0, 100)}…` : id;
  return new ApiError('not_found', `There is no record with ${collection.idField} ${JSON.stringify(shown)}.`);
}

/**
 * Writes one record as a batch of one, so with the same rules, history and idempotency as any batch. Gives back the record as it
 * is now and sets ETag; a failed item becomes the problem of its code.
 */
export async function writeRecord(
  { engine, closing }: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  { collection, operation, item }: { collection: Collection<never>; operation: BatchOperation; item: Item },
): Promise<{ id: string; resource: JsonObject }> {
  const about = [operation, collection.name, operation === 'update' ? item.id : null, item.version ?? null];
  const outcome = await engine.submit({
    ...request.caller,
    collection: collection.name,
    operation,
    content: { kind: 'items', items: [item] },
    options: parseOptions({ mode: 'sync', return: 'representation' }, engine.limits),
    single: true,
    ...idempotencyOf(request, engine.limits.textLength, about),
    ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
    signal: closing,
  });
  const headers: Record<string, string> = outcome.replayed ? { 'idempotency-replayed': 'true' } : {};
  const result = outcome.kind === 'results' ? outcome.results?.[0] : undefined;
  if (!result) throw new Error(`The write of one record in "${collection.name}" gave no result.`);
  if (result.status !== 'succeeded') throw problemOf(result, headers, request);
  const etag = etagOf({ version: result.version ?? null });
  if (etag !== undefined) headers.etag = etag;
  reply.headers(headers);
  return { id: result.id, resource: result.resource ?? {} };
}

function problemOf({ error }: ItemResult, headers: Record<string, string>, request: FastifyRequest): ApiError {
  const { code, message, field } = error ?? {
    code: 'internal' as const,
    message: 'The record was not written.',
    field: null,
  };
  const conditional = code === 'version_conflict' && request.headers['if-match'] !== undefined;
  return new ApiError(code, message, {
    headers,
    ...(conditional ? { status: 412 } : {}),
    ...(field === null || conditional ? {} : { errors: [{ pointer: `/${field}`, message }] }),
  });
}
