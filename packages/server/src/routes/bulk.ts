import { type BatchOperation, type Collection, isJsonObject, RequestError } from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import type { ProblemCode } from '../http/problems.ts';
import { readStreamBodies, StreamBody } from '../http/stream-body.ts';
import { answerBatch } from './batches.ts';
import { bulkAccepted, bulkAnswer, bulkBody, streamBodies } from './bulk-schemas.ts';
import { checkedByCode, requestHeaders, serializedAsIs } from './schemas.ts';
import { answerStream, refuseOptionsInQuery, StreamOptions } from './streams.ts';

const batchHeaders = Type.Object({
  'Idempotency-Key': requestHeaders['Idempotency-Key'],
  Prefer: requestHeaders.Prefer,
});

export const batchProblems: readonly ProblemCode[] = [
  'batch_empty',
  'validation_failed',
  'atomic_batch_failed',
  'expected_count_mismatch',
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'idempotency_in_progress',
  'rate_limited',
];

const aboutPatch =
  'The target is a processing resource, not a set of documents: each item is applied as a whole or not at all, and one that fails ' +
  'does not hold up the others. With `options.atomic` the batch as a whole is. POST does the same.';

export interface BulkOptions {
  /** The collection of `/bulk-update` where the body names none. */
  defaultCollection?: string;
}

/** Many records in one request, for each collection under its own path and for all under `/bulk-update`. */
export function registerBulkRoutes(app: Api, deps: Deps, options: BulkOptions = { defaultCollection: 'cases' }): void {
  // why a scope: streams are read on these routes and on no others
  app.register(async (scope: Api) => {
    readStreamBodies(scope);
    for (const collection of deps.engine.collections.values()) {
      registerBulkRoute(scope, deps, { method: 'POST', action: 'bulk-update', operation: 'update', collection });
      registerBulkRoute(scope, deps, { method: 'PATCH', action: 'bulk-update', operation: 'update', collection });
      registerBulkRoute(scope, deps, { method: 'POST', action: 'bulk-create', operation: 'create', collection });
    }
    registerSharedRoute(scope, deps, 'POST', options);
    registerSharedRoute(scope, deps, 'PATCH', options);
  });
}

interface BulkRoute {
  method: 'POST' | 'PATCH';
  action: 'bulk-update' | 'bulk-create';
  operation: BatchOperation;
  collection: Collection<never>;
}

function registerBulkRoute(app: Api, deps: Deps, { method, action, operation, collection }: BulkRoute): void {
  const { limits } = deps.engine;
  const verb = operation === 'update' ? 'Change' : 'Create';
  app.route({
    method,
    url: `/${collection.path}/${action}`,
    validatorCompiler: checkedByCode(app),
    serializerCompiler: serializedAsIs,
    config: { problems: batchProblems },
    schema: {
      tags: ['bulk', collection.name],
      summary: `${verb} many ${collection.name}${method === 'PATCH' ? ' (as PATCH)' : ''}`,
      description: `${method === 'PATCH' ? aboutPatch : aboutPost(limits.syncAutoItems, limits.bodyItems)} ${aboutStreams(limits.streamItems)}`,
      headers: batchHeaders,
      querystring: StreamOptions,
      body: {
        content: {
          'application/json': { schema: bulkBody({ collection, operation, limits }) },
          ...streamBodies(collection, operation),
        },
      } as never,
      response: { 200: bulkAnswer(collection, collection), 202: bulkAccepted(collection) },
    },
    handler: (request: FastifyRequest, reply: FastifyReply) => {
      const { body } = request;
      if (body instanceof StreamBody)
        return answerStream(deps, request, reply, { collection: () => collection, operation, body });
      refuseOptionsInQuery(request);
      return answerBatch(deps, request, reply, { collection, operation, body: body as never });
    },
  });
}

function aboutPost(syncItems: number, mostItems: number): string {
  return (
    `Each item has its own fate, told in request order. Up to ${syncItems} items are answered with their results, more (up to ` +
    `${mostItems}) with a job, unless the options say otherwise. Headers: Idempotency-Key, Prefer (respond-async, wait=N, return=minimal).`
  );
}

function aboutStreams(items: number): string {
  return (
    `As \`application/x-ndjson\` (one item a line) or \`text/csv\` (a header, then one item a row), also with \`Content-Encoding: gzip\`, up to ${items} ` +
    'items are read as they arrive and answered with a job; the options then stand in the query.'
  );
}

/** Where one path serves all collections, a stream names its own in the query. */
const SharedStreamOptions = Type.Object({
  collection: Type.Optional(Type.String({ description: 'For streams: the collection; a JSON body names it itself.' })),
  ...StreamOptions.properties,
});

function registerSharedRoute(app: Api, deps: Deps, method: 'POST' | 'PATCH', { defaultCollection }: BulkOptions): void {
  const { collections, limits } = deps.engine;
  const [first] = collections.values();
  const example = (defaultCollection === undefined ? undefined : collections.get(defaultCollection)) ?? first;
  if (!example) return;
  const collectionInBody = defaultCollection === undefined ? 'required' : 'optional';
  app.route({
    method,
    url: '/bulk-update',
    validatorCompiler: checkedByCode(app),
    serializerCompiler: serializedAsIs,
    config: { problems: [...batchProblems, 'unknown_collection'] },
    schema: {
      tags: ['bulk'],
      summary: `Change many records of the collection named in the body${method === 'PATCH' ? ' (as PATCH)' : ''}`,
      description: `${method === 'PATCH' ? aboutPatch : aboutPost(limits.syncAutoItems, limits.bodyItems)}${
        defaultCollection === undefined ? '' : ` Where no \`collection\` is named, it is ${defaultCollection}.`
      } The fields are those of the collection; the body is shown for ${example.name}. ${aboutStreams(limits.streamItems)}`,
      headers: batchHeaders,
      querystring: SharedStreamOptions,
      body: {
        content: {
          'application/json': {
            schema: bulkBody({ collection: example, operation: 'update', limits, collectionInBody }),
          },
          ...streamBodies(example, 'update'),
        },
      } as never,
      response: { 200: bulkAnswer(undefined, example), 202: bulkAccepted(undefined) },
    },
    handler: (request: FastifyRequest, reply: FastifyReply) => {
      const { body: stream } = request;
      if (stream instanceof StreamBody) {
        const { collection: named } = request.query as Static<typeof SharedStreamOptions>;
        const find = () => findCollection(deps, named ?? defaultCollection);
        return answerStream(deps, request, reply, { collection: find, operation: 'update', body: stream });
      }
      refuseOptionsInQuery(request);
      const { collection, body } = takeCollection(deps, request.body, defaultCollection);
      return answerBatch(deps, request, reply, { collection, operation: 'update', body: body as never });
    },
  });
}

/** Splits the name of the collection off the body. Throws `malformed_body`, `unknown_collection`. */
function takeCollection(
  deps: Deps,
  body: unknown,
  defaultCollection: string | undefined,
): { collection: Collection<never>; body: unknown } {
  const { collection: named, ...rest } = isJsonObject(body) ? body : { collection: undefined };
  const collection = findCollection(deps, named ?? defaultCollection);
  return { collection, body: isJsonObject(body) ? rest : body };
}

/** Throws `malformed_body`, `unknown_collection`. */
function findCollection({ engine }: Deps, name: unknown): Collection<never> {
  const known = [...engine.collections.keys()].join(', ');
  if (typeof name !== 'string') {
    const message = `\`collection\` must name one of: ${known}.`;
    throw new RequestError('malformed_body', message, { errors: [{ pointer: '/collection', message }] });
  }
  const collection = engine.collections.get(name);
  if (collection) return collection;
  throw new RequestError(
    'unknown_collection',
    `There is no collection ${JSON.stringify(name.slice(0, 100))}. The collections are: ${known}.`,
  );
}
