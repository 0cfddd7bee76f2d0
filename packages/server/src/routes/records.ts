import { type Collection, presentRecord, type RecordState } from '@docket/engine';
import type { FastifyRequest } from 'fastify';
import { type TSchema, Type } from 'typebox';
import { v7 as newUuid } from 'uuid';
import type { Api, Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { examplesOf } from './examples.ts';
import { basePath } from './job-view.ts';
import { filterParameters, whereOf } from './list-filters.ts';
import { linkNextPage } from './pages.ts';
import { etagOf, isKnownToClient } from './preconditions.ts';
import {
  CursorParameter,
  checkedByCode,
  fieldsInRequests,
  limitParameter,
  notModified,
  nullable,
  pageAnswer,
  preconditionFailed,
  recordSchema,
  requestHeaders,
  requiredFields,
  serializedAsIs,
} from './schemas.ts';
import { notFound, readFields, versionToFind, writeRecord } from './single-writes.ts';

/** Codes that an item can have, as answers to a write of one record. */
const writeProblems = [
  'validation_failed',
  'unknown_field',
  'constraint_violation',
  'deadline_exceeded',
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'idempotency_in_progress',
] as const;

/** A new id where the caller gives none: `case_` or `order_` and a UUID of version 7, so that ids sort by time. */
export function newId(collection: Collection<never>): string {
  return `${collection.idField.replace(/Id$/, '').toLowerCase()}_${newUuid().replaceAll('-', '')}`;
}

/** `a case`, `an order`: the singular, as the id is named. */
function one({ idField }: Collection<never>): string {
  const singular = idField.replace(/Id$/, '');
  return `${/^[aeiou]/.test(singular) ? 'an' : 'a'} ${singular}`;
}

/** The collection of a name; it must be one of the engine's. */
export function collectionNamed({ engine }: Deps, name: string): Collection<never> {
  const collection = engine.collections.get(name);
  if (!collection) throw new Error(`There is no collection "${name}".`);
  return collection;
}

/** Create, list, read, change and look back at single records of a collection. */
export function registerRecordRoutes(app: Api, deps: Deps, name: string): void {
  const collection = collectionNamed(deps, name);
  registerReads(app, deps, collection);
  registerWrites(app, deps, collection);
  registerHistory(app, deps, collection);
}

function paramsOf(collection: Collection<never>): TSchema {
  return Type.Object({ [collection.idField]: Type.String({ description: 'The id of the record.' }) });
}

function registerReads(app: Api, deps: Deps, collection: Collection<never>): void {
  const { engine } = deps;
  const { name, idField } = collection;
  const path = `/${collection.path}`;
  const examples = examplesOf(collection);
  const Resource = recordSchema(collection);
  const etagHeader = {
    ETag: { type: 'string', description: 'Of the present version, for If-Match and If-None-Match.' },
  };

  app.get(
    path,
    {
      serializerCompiler: serializedAsIs,
      schema: {
        tags: [name],
        summary: `List ${name}`,
        querystring: Type.Object({
          ...filterParameters(collection),
          sort: Type.Optional(
            Type.String({
              description: `One of ${collection.sortable.join(', ')}, in the order of its values; with a leading - the other way round. Default: ${idField}.`,
              examples: ['-updatedAt'],
            }),
          ),
          limit: Type.Optional(limitParameter(200, 50)),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: pageAnswer(Resource, {
            description: 'A page.',
            examples: [{ items: [examples.record], nextCursor: null }],
          }),
        },
      },
    },
    async (request, reply) => {
      const { sort, limit, cursor, ...filters } = request.query as { sort?: string; limit: number; cursor?: string };
      const page = await engine.listRecords({
        tenantId: request.caller.tenantId,
        collection: name,
        where: whereOf(collection, filters),
        sort,
        limit,
        cursor,
      });
      linkNextPage(request, reply, page.nextCursor);
      return { items: page.items.map((record) => presentRecord(collection, record)), nextCursor: page.nextCursor };
    },
  );

  app.get(
    `${path}/:${idField}`,
    {
      serializerCompiler: serializedAsIs,
      validatorCompiler: checkedByCode(app),
      config: { problems: ['not_found', 'job_not_found', 'deadline_exceeded', 'invalid_parameter'] },
      schema: {
        tags: [name],
        summary: `Read ${one(collection)}`,
        description:
          'Read from the primary, after the request arrived: whatever was acknowledged before is in it. With `afterJob`, read once that job has decided this record; `deadline_exceeded` when that takes longer than `wait`.',
        params: paramsOf(collection),
        querystring: Type.Object({
          afterJob: Type.Optional(Type.String({ description: 'Answer once this job has decided this record.' })),
          wait: Type.Optional(
            Type.Integer({ minimum: 0, maximum: 60, description: 'Seconds to wait for `afterJob`. Default: 10.' }),
          ),
        }),
        headers: Type.Object({ 'If-None-Match': requestHeaders['If-None-Match'] }),
        response: {
          200: { ...Resource, description: 'The record.', examples: [examples.record], headers: etagHeader } as TSchema,
          304: notModified,
        },
      },
    },
    // why no async function: this is the hottest route, and the promises of one are a measurable part of it
    (request, reply) => {
      const id = idOf(request, collection);
      const { tenantId } = request.caller;
      const { afterJob, wait } = request.query as { afterJob?: string; wait?: number };
      const answer = (record: RecordState | undefined) => {
        if (!record) throw notFound(collection, id);
        const etag = etagOf(record);
        if (etag !== undefined) reply.header('etag', etag);
        if (isKnownToClient(request.headers['if-none-match'], etag)) reply.code(304).send();
        else reply.send(presentRecord(collection, record));
      };
      const refuse = (error: unknown) => void reply.send(error);
      if (wait !== undefined && afterJob === undefined) throw waitWithoutJob();
      if (afterJob === undefined) {
        engine.readRecord(tenantId, name, id).then(answer).catch(refuse);
        return;
      }
      waitForDecision(deps, request, { id, jobId: afterJob, seconds: wait ?? 10 })
        .then(() => engine.readRecord(tenantId, name, id))
        .then(answer)
        .catch(refuse);
    },
  );
}

async function waitForDecision(
  { engine, closing }: Deps,
  request: FastifyRequest,
  { id, jobId, seconds }: { id: string; jobId: string; seconds: number },
): Promise<void> {
  const { tenantId } = request.caller;
  const decided = await engine.waitForRecord({ tenantId, jobId, id, timeoutMs: seconds * 1_000, signal: closing });
  if (decided) return;
  const message = `The job ${jobId} has not decided this record within ${seconds} s. Ask again, or read without \`afterJob\`.`;
  throw new ApiError('deadline_exceeded', message, { retryAfter: 1 });
}

function waitWithoutJob(): ApiError {
  const message = '`wait` says how long to wait for the job in `afterJob`; give both.';
  return new ApiError('invalid_parameter', message, { errors: [{ pointer: '/wait', message }] });
}

function registerWrites(app: Api, deps: Deps, collection: Collection<never>): void {
  const { engine } = deps;
  const { name, idField } = collection;
  const path = `/${collection.path}`;
  const examples = examplesOf(collection);
  const Resource = recordSchema(collection);
  const validatorCompiler = checkedByCode(app);
  const etagHeader = { ETag: { type: 'string', description: 'Of the new version.' } };
  const locationHeader = { Location: { type: 'string', description: 'The new record.' } };

  app.post(
    path,
    {
      validatorCompiler,
      serializerCompiler: serializedAsIs,
      config: { problems: [...writeProblems, 'already_exists'] },
      schema: {
        tags: [name],
        summary: `Create ${one(collection)}`,
        headers: Type.Object({ 'Idempotency-Key': requestHeaders['Idempotency-Key'] }),
        body: Type.Object(
          {
            [idField]: Type.Optional(
              Type.String({ maxLength: engine.limits.idLength, description: 'Left out: a new one is made.' }),
            ),
            ...fieldsInRequests(collection, { creation: true }),
          },
          { required: requiredFields(collection), additionalProperties: false, examples: [examples.creation] },
        ),
        response: {
          201: {
            ...Resource,
            description: 'Created.',
            examples: [examples.record],
            headers: { ...locationHeader, ...etagHeader },
          } as TSchema,
        },
      },
    },
    async (request, reply) => {
      const { [idField]: given, ...fields } = readFields(engine, request);
      const { idLength } = engine.limits;
      if (given !== undefined && (typeof given !== 'string' || given.length === 0 || given.length > idLength)) {
        const message = `${idField} must be text of 1 to ${idLength} characters.`;
        throw new ApiError('validation_failed', message, { errors: [{ pointer: `/${idField}`, message }] });
      }
      const item = { id: given ?? newId(collection), fields };
      const { id, resource } = await writeRecord(deps, request, reply, { collection, operation: 'create', item });
      return reply
        .code(201)
        .header('location', `${basePath}${path}/${encodeURIComponent(id)}`)
        .send(resource);
    },
  );

  app.patch(
    `${path}/:${idField}`,
    {
      validatorCompiler,
      serializerCompiler: serializedAsIs,
      config: {
        problems: [...writeProblems, 'not_found', 'invalid_transition', 'version_conflict', 'invalid_parameter'],
      },
      schema: {
        tags: [name],
        summary: `Change ${one(collection)}`,
        description:
          'A merge patch (RFC 7396) of the fields. With If-Match it is applied only to that version, else 412 `version_conflict`.',
        params: paramsOf(collection),
        headers: Type.Object({
          'If-Match': requestHeaders['If-Match'],
          'Idempotency-Key': requestHeaders['Idempotency-Key'],
        }),
        consumes: ['application/json', 'application/merge-patch+json'],
        body: Type.Object(fieldsInRequests(collection, { creation: false }), {
          required: [],
          additionalProperties: false,
          examples: [examples.patch],
        }),
        response: {
          200: {
            ...Resource,
            description: 'The record as it is now.',
            examples: [examples.record],
            headers: etagHeader,
          } as TSchema,
          412: preconditionFailed,
        },
      },
    },
    async (request, reply) => {
      const id = idOf(request, collection);
      const fields = readFields(engine, request);
      const version = await versionToFind(engine, request, { collection, id });
      const item = version === undefined ? { id, fields } : { id, fields, version };
      const { resource } = await writeRecord(deps, request, reply, { collection, operation: 'update', item });
      return resource;
    },
  );
}

const HistoryEntry = Type.Object({
  version: nullable(Type.Integer({ description: 'Of the record, after the change.' })),
  jobId: Type.String({ description: 'The job that made the change.' }),
  index: Type.Integer({ description: 'Place of the item in its batch.' }),
  actor: Type.String({ description: 'Who made the change.' }),
  changedAt: Type.String({ format: 'date-time' }),
  before: nullable(
    Type.Unsafe({
      type: 'object',
      additionalProperties: true,
      description: 'The changed fields; null when the record was created.',
    }),
  ),
  after: Type.Unsafe({ type: 'object', additionalProperties: true, description: 'The changed fields.' }),
});

function registerHistory(app: Api, { engine }: Deps, collection: Collection<never>): void {
  const { name, idField } = collection;
  app.get(
    `/${collection.path}/:${idField}/history`,
    {
      serializerCompiler: serializedAsIs,
      config: { problems: ['not_found'] },
      schema: {
        tags: [name],
        summary: `The changes of ${one(collection)}, newest first`,
        params: paramsOf(collection),
        querystring: Type.Object({
          limit: Type.Optional(limitParameter(200, 50)),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: pageAnswer(HistoryEntry, {
            description: 'A page.',
            examples: [{ items: [examplesOf(collection).change], nextCursor: null }],
          }),
        },
      },
    },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const id = idOf(request, collection);
      const { limit, cursor } = request.query as { limit: number; cursor?: string };
      const page = await engine.history({ tenantId, collection: name, id, limit, cursor });
      if (page.items.length === 0 && cursor === undefined && !(await engine.readRecord(tenantId, name, id))) {
        throw notFound(collection, id);
      }
      linkNextPage(request, reply, page.nextCursor);
      return page;
    },
  );
}

function idOf(request: FastifyRequest, collection: Collection<never>): string {
  const id = (request.params as Record<string, string>)[collection.idField] as string;
  // why: the database knows no text with NUL; to ask for it would fail
  if (id.includes('\0')) throw notFound(collection, id);
  return id;
}
