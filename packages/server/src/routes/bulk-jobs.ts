import {
  type Collection,
  type Item,
  isJsonObject,
  type Job,
  outcomeOf,
  parseOptions,
  RequestError,
} from '@docket/engine';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { readBatch } from './batches.ts';
import { batchProblems } from './bulk.ts';
import { idempotencyOf } from './idempotency.ts';
import { jobPath, suggestRetry } from './job-view.ts';
import { checkedByCode, nullable, OutcomeSchema, requestHeaders, StatusSchema } from './schemas.ts';

/** What may be done under a name: the items of a collection, and of their fields all or one. */
interface NamedOperation {
  name: string;
  collection: Collection<never>;
  /** The only field that items may have. */
  field: string | undefined;
}

/**
 * The plain job resource in snake_case: submit, then ask. Mounted at the root and under the base path; the operations are
 * `update_<collection>` and `update_<collection>_<field>`.
 */
export function registerBulkJobRoutes(app: Api, deps: Deps): void {
  const operations = nameOperations([...deps.engine.collections.values()]);
  const { engine } = deps;

  app.post(
    '/bulk-jobs',
    {
      validatorCompiler: checkedByCode(app),
      config: { problems: [...batchProblems.filter((code) => code !== 'atomic_batch_failed'), 'unknown_operation'] },
      schema: {
        tags: ['bulk jobs'],
        summary: 'Submit a bulk job',
        headers: Type.Object({ 'Idempotency-Key': requestHeaders['Idempotency-Key'] }),
        body: Type.Object(
          {
            operation: Type.Enum([...operations.keys()], {
              type: 'string',
              description: 'What is done, and to which records.',
            }),
            items: Type.Array(Type.Object({ id: Type.String() }, { additionalProperties: true }), {
              minItems: 1,
              maxItems: engine.limits.bodyItems,
              description: 'The id and the fields to change.',
            }),
          },
          {
            additionalProperties: false,
            examples: [{ operation: 'update_orders_status', items: [{ id: 'ord_123', status: 'cancelled' }] }],
          },
        ),
        response: {
          202: Type.Object(BulkJob.properties, {
            description: 'Taken.',
            examples: [
              {
                ...bulkJobExample,
                status: 'pending',
                succeeded: 0,
                outcome: null,
                started_at: null,
                completed_at: null,
              },
            ],
            headers: { Location: { type: 'string', description: 'The job.' } },
          } as never),
        },
      },
    },
    async (request, reply) => {
      const { operation, items } = readSubmission(deps, request, operations);
      const outcome = await engine.submit({
        ...request.caller,
        collection: operation.collection.name,
        operation: 'update',
        operationName: operation.name,
        content: { kind: 'items', items },
        options: parseOptions({ mode: 'async' }, engine.limits),
        ...idempotencyOf(request, engine.limits.textLength, ['bulk-job']),
        ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
      });
      if (outcome.replayed) reply.header('idempotency-replayed', 'true');
      reply.code(202).header('location', `${app.prefix}/bulk-jobs/${outcome.job.jobId}`).header('retry-after', '1');
      return presentBulkJob(outcome.job) as never;
    },
  );

  app.get(
    '/bulk-jobs/:id',
    {
      config: { problems: ['job_not_found'] },
      schema: {
        tags: ['bulk jobs'],
        summary: 'Ask how a bulk job stands',
        params: Type.Object({ id: Type.String({ description: 'The id of the job.', examples: [bulkJobExample.id] }) }),
        response: { 200: Type.Object(BulkJob.properties, { description: 'The job.', examples: [bulkJobExample] }) },
      },
    },
    async (request, reply) => {
      const job = await engine.getJob(request.caller.tenantId, request.params.id);
      suggestRetry(reply, job);
      return presentBulkJob(job) as never;
    },
  );
}

const time = () => Type.String({ format: 'date-time' });

const BulkJob = Type.Object({
  id: Type.String(),
  operation: Type.String(),
  status: StatusSchema,
  outcome: OutcomeSchema,
  total_items: Type.Integer(),
  succeeded: Type.Integer(),
  failed: Type.Integer(),
  not_processed: Type.Integer(),
  created_at: time(),
  started_at: nullable(time()),
  completed_at: nullable(time()),
  result_url: Type.String({ description: 'The results of the items.' }),
});

const bulkJobExample = {
  id: 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
  operation: 'update_orders_status',
  status: 'completed',
  outcome: 'all_succeeded',
  total_items: 1,
  succeeded: 1,
  failed: 0,
  not_processed: 0,
  created_at: '2026-05-04T09:12:31.113Z',
  started_at: '2026-05-04T09:12:31.118Z',
  completed_at: '2026-05-04T09:12:31.125Z',
  result_url: '/api/v1/jobs/job_0199c1d27c1e7b6a9f652f6f0c1f3a10/results',
};

/** A job that was submitted elsewhere has no name of its own; it is then named after what it does. */
function presentBulkJob(job: Job): object {
  return {
    id: job.jobId,
    operation: job.operationName ?? `${job.operation}_${job.collection}`,
    status: job.status,
    outcome: outcomeOf(job.status, job.summary),
    total_items: job.summary.total,
    succeeded: job.summary.succeeded,
    failed: job.summary.failed,
    not_processed: job.summary.notProcessed,
    created_at: job.createdAt,
    started_at: job.startedAt,
    completed_at: job.completedAt,
    result_url: `${jobPath(job.jobId)}/results`,
  };
}

/** Every operation by its name. Throws TypeError when two collections and their fields make the same one. */
export function nameOperations(collections: readonly Collection<never>[]): Map<string, NamedOperation> {
  const operations = new Map<string, NamedOperation>();
  const add = (operation: NamedOperation) => {
    const { name } = operation;
    if (operations.has(name))
      throw new TypeError(`Two operations of /bulk-jobs are named "${name}". Rename a collection or a field.`);
    operations.set(name, operation);
  };
  for (const collection of collections) {
    const base = `update_${collection.name.replaceAll('-', '_')}`;
    add({ name: base, collection, field: undefined });
    for (const field of collection.fields.values()) {
      if (!field.createOnly) add({ name: `${base}_${snakeCase(field.name)}`, collection, field: field.name });
    }
  }
  return operations;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function readSubmission(
  deps: Deps,
  request: FastifyRequest,
  operations: ReadonlyMap<string, NamedOperation>,
): { operation: NamedOperation; items: Item[] } {
  const { body } = request;
  if (!isJsonObject(body)) throw malformed('', 'The body must be an object with `operation` and `items`.');
  const unknown = Object.keys(body).find((name) => name !== 'operation' && name !== 'items');
  if (unknown !== undefined) throw malformed('', `Unknown member "${unknown}"; allowed are operation and items.`);
  if (typeof body.operation !== 'string')
    throw malformed('/operation', '`operation` must be the name of an operation.');
  const operation = operations.get(body.operation);
  if (!operation) {
    const known = [...operations.keys()].join(', ');
    const name = JSON.stringify(body.operation.slice(0, 100));
    throw new RequestError('unknown_operation', `There is no operation ${name}. The operations are: ${known}.`, {
      errors: [{ pointer: '/operation', message: 'Unknown operation.' }],
    });
  }
  if (body.items === undefined) throw malformed('/items', '`items` is missing.');
  const { collection } = operation;
  const { content } = readBatch(deps, request, { collection, operation: 'update', body: { items: body.items } });
  const items = content.kind === 'items' ? content.items : [];
  for (const [index, item] of items.entries()) checkFields(operation, item, index);
  return { operation, items };
}

/** An item of an operation on one field that has another, or not that one, would be work that nobody asked for, or none. */
function checkFields({ name, field }: NamedOperation, item: Item, index: number): void {
  if (field === undefined) return;
  const names = Object.keys(item.fields);
  const other = names.find((one) => one !== field);
  if (other !== undefined) {
    throw malformed(
      `/items/${index}`,
      `Item ${index} has the field "${other}"; the operation ${name} changes only ${field}.`,
    );
  }
  if (names.length === 0)
    throw malformed(`/items/${index}`, `Item ${index} has no "${field}", which the operation ${name} changes.`);
}

function malformed(pointer: string, message: string): RequestError {
  return new RequestError('malformed_body', message, { errors: [{ pointer, message }] });
}
