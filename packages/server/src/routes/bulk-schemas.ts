import { type Collection, itemCodes, type Limits, priorities } from '@docket/engine';
import { type TSchema, Type } from 'typebox';
import { examplesOf } from './examples.ts';
import {
  AcceptedSchema,
  fieldsInRequests,
  LinksSchema,
  OutcomeSchema,
  requiredFields,
  resultSchema,
  StatusSchema,
  SummarySchema,
} from './schemas.ts';

type Operation = 'update' | 'create';

const described = (type: string, description: string, more: object = {}): TSchema =>
  Type.Unsafe({ type, description, ...more });

/** The options of a batch, for the reference; the engine reads them. */
const Options = Type.Partial(
  Type.Object({
    mode: described('string', 'auto: small batches are answered with results, larger ones with a job.', {
      enum: ['auto', 'sync', 'async'],
      default: 'auto',
    }),
    waitForCompletion: described('boolean', 'true: wait up to 60 s for the results; false: answer 202 at once.'),
    returnJobId: described('boolean', 'false leaves the job id out of a synchronous answer.', { default: true }),
    dryRun: described('boolean', 'Decide everything, change nothing; the job can then be applied.', { default: false }),
    atomic: described('boolean', 'All or nothing.', { default: false }),
    maxErrors: described('integer', 'Stop after so many failures; the rest is not_processed.', { minimum: 1 }),
    onDeadline: described(
      'string',
      'When the time of a synchronous batch ends: give back what is done, or go on as a job.',
      {
        enum: ['return', 'continue'],
        default: 'return',
      },
    ),
    return: described('string', 'Whether results hold the resource.', { enum: ['representation', 'minimal'] }),
    priority: described('string', 'Which jobs come first.', { enum: priorities, default: 'normal' }),
    label: described('string', 'Your own name for the job, to find it by.', { minLength: 1 }),
    callbackUrl: described('string', 'Is told the end of the job by one signed webhook, as endpoints are.', {
      format: 'uri',
      maxLength: 2_048,
    }),
  }),
  { additionalProperties: false },
);

interface Shape {
  collection: Collection<never>;
  operation: Operation;
  limits: Limits;
  /** The collection stands in the body; here, whether it may be left out. */
  collectionInBody?: 'required' | 'optional';
}

/** The accepted shapes of a bulk request, for the reference; the engine reads them. */
export function bulkBody({ collection, operation, limits, collectionInBody }: Shape): TSchema {
  const creation = operation === 'create';
  const fields = Type.Object(fieldsInRequests(collection, { creation }), {
    required: creation ? requiredFields(collection) : [],
    additionalProperties: false,
  });
  const text = (description: string) =>
    Type.Optional(Type.String({ minLength: 1, maxLength: limits.textLength, description }));
  const ownNames = {
    ref: text('Given back with the result.'),
    idempotencyKey: text('The item is applied once, whatever batch it is in.'),
  };
  const version = creation
    ? {}
    : { version: Type.Optional(Type.Integer({ description: 'Applied only to this version.' })) };
  const id = Type.String({ minLength: 1, maxLength: limits.idLength });
  const idMember = (name: string) => ({ [name]: creation ? Type.Optional(id) : id });
  const Flat = Type.Object(
    { ...idMember(collection.idField), ...fieldsInRequests(collection, { creation }), ...version, ...ownNames },
    {
      required: [...(creation ? requiredFields(collection) : [collection.idField])],
      additionalProperties: false,
      title: 'Item, flat',
    },
  );
  const Wrapped = Type.Object(
    { ...idMember('id'), fields, ...version, ...ownNames },
    { additionalProperties: false, title: 'Item, wrapped' },
  );
  const items = Type.Unsafe({
    type: 'array',
    items: { anyOf: [Flat, Wrapped] },
    minItems: 1,
    maxItems: limits.bodyItems,
  });
  const inBody = collectionInBody
    ? { collection: collectionInBody === 'optional' ? Type.Optional(Type.String()) : Type.String() }
    : {};
  const options = Type.Optional(Options);
  const shapes: TSchema[] = [
    Type.Object({ ...inBody, items, options }, { additionalProperties: false, title: 'Items' }),
    Type.Object({ ...inBody, updates: items, options }, { additionalProperties: false, title: 'Updates' }),
  ];
  if (!creation) {
    const where = Type.Partial(
      Type.Object(
        Object.fromEntries(
          Object.keys(collection.filters).map((name) => [name, Type.Unsafe({ description: 'As in the list.' })]),
        ),
      ),
      { additionalProperties: false },
    );
    const expectedCount = Type.Optional(
      Type.Integer({ minimum: 0, description: 'Refused unless so many are selected.' }),
    );
    shapes.push(
      Type.Object(
        { ...inBody, where, fields, expectedCount, options },
        { additionalProperties: false, title: 'By query' },
      ),
    );
  }
  if (collectionInBody !== 'required') shapes.unshift(Type.Unsafe({ ...items, title: 'Array' }));
  return Type.Unsafe({
    anyOf: shapes,
    examples: bodyExamples({ collection, operation, limits, ...(collectionInBody ? { collectionInBody } : {}) }),
  });
}

function bodyExamples({ collection, operation, collectionInBody }: Shape): unknown[] {
  const { id, patch, creation } = examplesOf(collection);
  const inBody = collectionInBody ? { collection: collection.name } : {};
  if (operation === 'create') return [{ ...inBody, items: [creation] }];
  const wrapped = { id, fields: patch, version: 3, idempotencyKey: 'row-7', ref: 'csv line 12' };
  return [
    { ...inBody, items: [wrapped], options: { label: 'import of May' } },
    { ...inBody, updates: [{ [collection.idField]: id, ...patch }] },
    ...(collectionInBody === 'required' ? [] : [[{ [collection.idField]: id, ...patch }]]),
  ];
}

/** The same items as streams, for the reference. */
export function streamBodies(collection: Collection<never>, operation: Operation): Record<string, { schema: TSchema }> {
  const { id, patch, creation } = examplesOf(collection);
  const item = (operation === 'create' ? creation : { [collection.idField]: id, ...patch }) as Record<string, unknown>;
  const simple = Object.entries(item).filter(([, value]) => typeof value !== 'object');
  const csv = [simple.map(([name]) => name), simple.map(([, value]) => String(value))];
  return {
    'application/x-ndjson': { schema: Type.String({ examples: [`${JSON.stringify(item)}\n`] }) },
    'text/csv': { schema: Type.String({ examples: [`${csv.map((row) => row.join(',')).join('\n')}\n`] }) },
  };
}

/** The answer that takes a batch as a job; of a dry run with a sample. */
export function bulkAccepted(collection: Collection<never> | undefined): TSchema {
  const sample = Type.Array(resultSchema(collection), {
    description: 'Of a dry run: what would become of its first 100 items, decided at once.',
  });
  return {
    ...AcceptedSchema,
    properties: { ...AcceptedSchema.properties, sample },
  } as TSchema;
}

const counts = { updated: Type.Optional(Type.Integer()), failed: Type.Optional(Type.Integer()) };

/** The synchronous answer. */
export function bulkAnswer(collection: Collection<never> | undefined, example: Collection<never>): TSchema {
  return Type.Object(
    {
      jobId: Type.Optional(Type.String()),
      status: StatusSchema,
      outcome: OutcomeSchema,
      dryRun: Type.Optional(Type.Boolean({ description: 'True: nothing was changed.' })),
      summary: SummarySchema,
      ...counts,
      results: Type.Optional(
        Type.Array(resultSchema(collection), {
          description: 'In the order of the request. For large batches, see `links.results`.',
        }),
      ),
      links: Type.Optional(LinksSchema),
    },
    {
      description: 'Processed, also when every item failed: look at `outcome`.',
      examples: [answerExample(example)],
      headers: {
        'Preference-Applied': { type: 'string', description: 'The preferences that were taken into account.' },
        'Idempotency-Replayed': {
          type: 'string',
          description: 'true: the answer to an earlier request with the same key.',
        },
      },
    } as never,
  );
}

function answerExample(collection: Collection<never>): object {
  const { id, record } = examplesOf(collection);
  const { idField } = collection;
  const [notFound] = itemCodes;
  const error = { code: notFound, message: `There is no record with ${idField} "def".`, field: null };
  return {
    jobId: 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
    status: 'completed',
    outcome: 'some_failed',
    summary: { total: 2, succeeded: 1, failed: 1, notProcessed: 0 },
    updated: 1,
    failed: 1,
    results: [
      { index: 0, id, [idField]: id, status: 'succeeded', changed: true, version: 4, resource: record },
      { index: 1, id: 'def', [idField]: 'def', ref: 'csv line 12', status: 'failed', retryable: false, error },
    ],
  };
}
