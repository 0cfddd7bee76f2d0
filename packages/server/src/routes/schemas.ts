import type { Collection } from '@docket/engine';
import { itemCodes, jobStatuses, priorities } from '@docket/engine';
import type { FastifySchemaCompiler, FastifySerializerCompiler } from 'fastify';
import { type TSchema, Type } from 'typebox';
import type { Api } from '../http/api.ts';

/** A schema whose static type is of no use: what it describes is known only when the program runs. */
type AnySchema = TSchema;

/** The same value, or null. */
export function nullable(schema: AnySchema): AnySchema {
  const { type, enum: values, ...rest } = schema as AnySchema & { type?: string; enum?: unknown[] };
  return Type.Unsafe({ type: [type, 'null'], ...(values ? { enum: [...values, null] } : {}), ...rest });
}

const freeObject = (description: string): AnySchema =>
  Type.Unsafe({ type: 'object', additionalProperties: true, description });
const time = (description: string): AnySchema => Type.String({ format: 'date-time', description });
const textEnum = (values: readonly string[], description: string): AnySchema =>
  Type.Enum([...values], { type: 'string', description });

/** The fields of a collection as an answer holds them. A field whose type is not one simple one is left open. */
function fieldsInAnswers(collection: Collection<never>): Record<string, AnySchema> {
  const shapes: Record<string, AnySchema> = {};
  for (const { name, schema, nullable: mayBeNull } of collection.fields.values()) {
    const { type, description, enum: values, format } = schema as Record<string, unknown>;
    const about = description === undefined ? {} : { description };
    if (type === 'object') shapes[name] = Type.Unsafe({ type, additionalProperties: true, ...about });
    else if (type === 'array') shapes[name] = Type.Unsafe({ type, items: {}, ...about });
    else if (typeof type === 'string') {
      const shape = Type.Unsafe({ type, ...(values ? { enum: values } : {}), ...(format ? { format } : {}), ...about });
      shapes[name] = mayBeNull ? nullable(shape) : shape;
    } else shapes[name] = Type.Unsafe({ ...about });
  }
  return shapes;
}

/** A record as `presentRecord` makes it. */
export function recordSchema(collection: Collection<never>): AnySchema {
  const properties: Record<string, AnySchema> = {
    [collection.idField]: Type.String({ description: 'Unique within the collection.' }),
    ...fieldsInAnswers(collection),
  };
  if (collection.table.version) properties.version = Type.Integer({ description: 'Rises by one with each change.' });
  if (collection.table.createdAt) properties.createdAt = time('When the record was created.');
  if (collection.table.updatedAt) properties.updatedAt = time('When the record was changed last.');
  return Type.Object(properties);
}

/** Fields to change, as a merge patch; or, with `creation`, a whole new record. For the reference: the engine checks them. */
export function fieldsInRequests(
  collection: Collection<never>,
  { creation }: { creation: boolean },
): Record<string, AnySchema> {
  const shapes: Record<string, AnySchema> = {};
  for (const field of collection.fields.values()) {
    if (field.createOnly && !creation) continue;
    const { type } = field.schema as { type?: unknown };
    const schema = field.nullable && typeof type === 'string' ? nullable(field.schema) : field.schema;
    const value = field.default;
    shapes[field.name] =
      creation && value !== undefined ? Type.Unsafe({ ...schema, default: value }) : Type.Unsafe({ ...schema });
  }
  return shapes;
}

/** Of each field that a new record must be given; those that have a default or start a lifecycle may be left out. */
export function requiredFields({ fields, lifecycleField }: Collection<never>): string[] {
  return [...fields.values()]
    .filter((field) => !field.nullable && field.default === undefined && field.name !== lifecycleField)
    .map(({ name }) => name);
}

export function pageSchema(items: AnySchema, options: { description: string; examples?: unknown[] }): AnySchema {
  const properties = {
    items: Type.Array(items),
    nextCursor: nullable(Type.String({ description: 'For the next page; null at the end.' })),
  };
  return Type.Object(properties, options);
}

export const linkHeader = { Link: { type: 'string', description: 'The next page: `<..>; rel="next"`.' } };

/** A page as a whole answer. */
export function pageAnswer(items: AnySchema, options: { description: string; examples?: unknown[] }): AnySchema {
  return { ...pageSchema(items, options), headers: linkHeader } as AnySchema;
}

export function limitParameter(most: number, usual: number): AnySchema {
  return Type.Integer({ minimum: 1, maximum: most, default: usual, description: 'Entries on a page.' });
}

export const CursorParameter = Type.String({
  minLength: 1,
  maxLength: 4_096,
  description: 'The `nextCursor` of the page before.',
});

const count = (description: string): AnySchema => Type.Integer({ minimum: 0, description });

export const SummarySchema = Type.Object(
  {
    total: count('Items of the batch.'),
    succeeded: count('Applied, also those that were as asked already.'),
    failed: count('Not applied, each for a reason of its own.'),
    notProcessed: count('Not reached.'),
  },
  { description: 'Every item is counted once.' },
);

export const StatusSchema = textEnum(
  jobStatuses,
  '`failed`: the job itself could not run. Failed items are in `summary` and `outcome`.',
);
export const OutcomeSchema = nullable(
  textEnum(['all_succeeded', 'some_failed', 'all_failed'], 'What became of the items; null until the end.'),
);
export const ResultStatusSchema = textEnum(['succeeded', 'failed', 'not_processed'], 'What became of an item.');

export const LinksSchema = Type.Unsafe({
  type: 'object',
  additionalProperties: { type: 'string' },
  description: 'Paths of what there is beside: self, status, results, resultsCsv, events, and what can be done now.',
});

const progress = Type.Object({
  processed: count('Items decided so far.'),
  total: count('Items of the batch.'),
  itemsPerSecond: nullable(Type.Integer({ description: 'Over the time that the job has run.' })),
  etaSeconds: nullable(Type.Integer({ description: 'Until the end, at this rate.' })),
});

const jobProperties = {
  jobId: Type.String({ pattern: '^job_[0-9a-f]{32}$' }),
  collection: Type.String(),
  operation: textEnum(
    ['update', 'create', 'apply', 'retry', 'revert', 'update_one', 'create_one'],
    'What the job does to the records.',
  ),
  operationName: nullable(Type.String({ description: 'The name that /bulk-jobs was given.' })),
  status: StatusSchema,
  cancelRequested: Type.Boolean({
    description: 'It ends as `cancelled` when the chunks in flight have ended, or has done so.',
  }),
  outcome: OutcomeSchema,
  summary: SummarySchema,
  progress,
  label: nullable(Type.String()),
  priority: textEnum(priorities, 'Which jobs come first.'),
  dryRun: Type.Boolean({ description: 'Decides everything and changes nothing.' }),
  atomic: Type.Boolean({ description: 'All items or none.' }),
  createdAt: time('When the batch was taken.'),
  startedAt: nullable(time('When the first chunk was begun.')),
  completedAt: nullable(time('When the job ended.')),
  expiresAt: time(
    'When the job and its results are removed. It counts from the end of the job; until then, from its beginning.',
  ),
  parentJobId: nullable(Type.String({ description: 'The job that this one was made from.' })),
  error: Type.Unsafe({ description: 'Why a job with status `failed` could not run.' }),
  links: LinksSchema,
};

export const jobExample = {
  jobId: 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
  collection: 'cases',
  operation: 'update',
  operationName: null,
  status: 'running',
  cancelRequested: false,
  outcome: null,
  summary: { total: 5000, succeeded: 2990, failed: 10, notProcessed: 0 },
  progress: { processed: 3000, total: 5000, itemsPerSecond: 21000, etaSeconds: 1 },
  label: 'import of May',
  priority: 'normal',
  dryRun: false,
  atomic: false,
  createdAt: '2026-05-04T09:12:31.113Z',
  startedAt: '2026-05-04T09:12:31.118Z',
  completedAt: null,
  expiresAt: '2026-05-11T09:12:31.113Z',
  parentJobId: null,
  links: {
    self: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
    status: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/status',
    results: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/results',
    resultsCsv: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/results.csv',
    events: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/events',
    cancel: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/cancel',
    pause: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/pause',
  },
};

export const JobParams = Type.Object({
  jobId: Type.String({ description: 'The id of the job.', examples: [jobExample.jobId] }),
});

const { error: errorOfJob, ...requiredOfJob } = jobProperties;

/** A job as `presentJob` makes it; not fitted with an example, so that it can stand within others. */
export const JobSchema = Type.Object({ ...requiredOfJob, error: Type.Optional(errorOfJob) });

/** The answer that takes a batch as a job: the job, and where to follow it. */
export const AcceptedSchema = Type.Object(
  { ...requiredOfJob, error: Type.Optional(errorOfJob), queued: count('Items that wait.') },
  {
    description: 'Taken as a job. Nothing is promised of the items until the job says so.',
    examples: [{ ...jobExample, status: 'pending', startedAt: null, queued: 5000 }],
    headers: {
      Location: { type: 'string', description: 'The job.' },
      'Retry-After': { type: 'integer', description: 'Seconds until it is worth asking.' },
    },
  } as never,
);

/** What became of one item; with `record`, the resource as it is described there. */
export function resultSchema(collection: Collection<never> | undefined): AnySchema {
  const idField = collection?.idField;
  return Type.Object(
    {
      index: count('Place in the request, from 0.'),
      id: Type.String(),
      ...(idField === undefined || idField === 'id'
        ? {}
        : { [idField]: Type.String({ description: 'The same as `id`.' }) }),
      ref: Type.Optional(Type.String({ description: 'As the item had it.' })),
      status: ResultStatusSchema,
      changed: Type.Optional(Type.Boolean({ description: 'False when the record was as asked already.' })),
      version: Type.Optional(Type.Integer({ description: 'Of the record, after the item.' })),
      resource: Type.Optional(collection ? recordSchema(collection) : freeObject('The record after the item.')),
      before: Type.Optional(nullable(freeObject('In a preview: the changed fields as they are.'))),
      after: Type.Optional(freeObject('In a preview: the changed fields as they would be.')),
      replayed: Type.Optional(
        Type.Boolean({ description: "The item's own key was applied before; this is its first result." }),
      ),
      retryable: Type.Optional(
        Type.Boolean({ description: 'Whether the same item may succeed when it is sent again.' }),
      ),
      error: Type.Optional(
        Type.Object({
          code: textEnum(itemCodes, 'Stable.'),
          message: Type.String(),
          field: nullable(Type.String({ description: 'The field at fault, where there is one.' })),
        }),
      ),
    },
    // why: the name of the id depends on the job
    idField === undefined ? { additionalProperties: { type: 'string' } as never } : {},
  );
}

export const notModified = Type.Unsafe({
  type: 'null',
  description: 'The state that If-None-Match names is the present one.',
});

const header = (description: string, example: string): AnySchema =>
  Type.Optional(Type.String({ description, examples: [example] }));

/** Headers that requests may have, for the reference. */
export const requestHeaders = {
  'Idempotency-Key': header(
    'Makes the request safe to repeat: the same key and body get the first answer again.',
    '"7b6f2c"',
  ),
  Prefer: header(
    'RFC 7240: respond-async, wait=N, return=minimal. What the options of the body say counts more.',
    'respond-async, wait=10',
  ),
  'If-Match': header('Only if the record has one of these tags.', '"v3"'),
  'If-None-Match': header('304 if the record still has one of these tags.', '"v3"'),
};

/** The answer to If-Match with another version, for the reference. */
export const preconditionFailed = {
  description: '`version_conflict`: If-Match names no version that the record has.',
  content: { 'application/problem+json': { schema: Type.Unsafe({ $ref: '#/components/schemas/Problem' }) } },
};

const acceptAll = () => true;

/**
 * For routes whose schemas of body and headers only describe: these are read by code that can say more than a schema. The query
 * and the path are checked as usual.
 */
export function checkedByCode(app: Api): FastifySchemaCompiler<object> {
  return (part) => {
    if (part.httpPart === 'body' || part.httpPart === 'headers') return acceptAll;
    const compile = app.validatorCompiler;
    if (!compile) throw new Error('The server has no validator compiler.');
    return compile(part as never) as never;
  };
}

/**
 * For answers that hold records: their values are free-form, so the schema describes and filters nothing. Measured on real
 * cases, plain JSON.stringify takes half the time of a serializer made from the schema, and it keeps the order of members.
 */
export const serializedAsIs: FastifySerializerCompiler<object> = () => (answer) => JSON.stringify(answer);
