import { Readable } from 'node:stream';
import {
  type Collection,
  type Engine,
  type ItemCode,
  type ItemResult,
  itemCodes,
  type Job,
  type Json,
  RequestError,
  type ResultFilter,
  type ResultRow,
} from '@docket/engine';
import { stringify } from 'csv-stringify/sync';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { nullCell } from '../http/csv.ts';
import { chooseMediaType } from './accept.ts';
import { presentResult } from './job-view.ts';
import { linkNextPage } from './pages.ts';
import {
  CursorParameter,
  JobParams,
  linkHeader,
  pageSchema,
  ResultStatusSchema,
  resultSchema,
  serializedAsIs,
} from './schemas.ts';

const json = 'application/json';
const ndjson = 'application/x-ndjson';
const csv = 'text/csv';

const resultExample = { index: 0, id: 'CASE-001', caseId: 'CASE-001', status: 'succeeded', changed: true, version: 4 };
const csvExample =
  'caseId,caseType,title,status,priority,assignee,data,ref,result_index,result_status,result_changed,result_version,result_code,result_message,result_field\r\n' +
  'CASE-001,,,Under Review,,,,csv line 12,0,succeeded,true,4,,,\r\n';

/** Which results are asked for, in a query. */
const filterParameters = {
  status: Type.Optional(ResultStatusSchema),
  code: Type.Optional(
    Type.Array(Type.Enum([...itemCodes], { type: 'string' }), {
      maxItems: 100,
      description:
        'Only those that failed, or were not processed, with this code; given several times, with any of them.',
    }),
  ),
};

interface FilterQuery {
  status?: ItemResult['status'];
  code?: ItemCode[];
}

function filterOf({ status, code }: FilterQuery): ResultFilter {
  return { status, codes: code };
}

/** The results of a job's items, in request order: a page as JSON, or all of them as a stream of lines. */
export function registerResultRoutes(app: Api, { engine }: Deps): void {
  app.get(
    '/jobs/:jobId/results',
    {
      serializerCompiler: serializedAsIs,
      config: { problems: ['job_not_found', 'not_acceptable'] },
      schema: {
        tags: ['jobs'],
        summary: 'The results of the items, in request order',
        description:
          'Those decided so far. As JSON in pages; with `Accept: application/x-ndjson` or `text/csv` all of them as one stream, without ' +
          '`limit` and `cursor`.',
        params: JobParams,
        querystring: Type.Object({
          ...filterParameters,
          limit: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 1_000, description: 'Entries on a page; 100 where it is left out.' }),
          ),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: {
            description: 'The results.',
            headers: linkHeader,
            content: {
              [json]: {
                schema: pageSchema(resultSchema(undefined), {
                  description: 'A page.',
                  examples: [{ items: [resultExample], nextCursor: null }],
                }),
              },
              [ndjson]: { schema: Type.String({ examples: [`${JSON.stringify(resultExample)}\n`] }) },
              [csv]: { schema: Type.String({ examples: [csvExample] }) },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const { limit, cursor, ...query } = request.query as FilterQuery & { limit?: number; cursor?: string };
      const type = chooseMediaType(request.headers.accept, [json, ndjson, csv]);
      const { tenantId } = request.caller;
      const job = await engine.getJob(tenantId, request.params.jobId);
      const collection = collectionOf(engine, job);
      reply.header('vary', 'Accept');
      if (type !== json) {
        refusePaging({ limit, cursor }, type);
        return streamResults(engine, request, reply, { job, collection, type, filter: filterOf(query) });
      }
      const asked = { ...filterOf(query), tenantId, jobId: job.jobId };
      const page = await engine.jobResults({ ...asked, limit: limit ?? 100, cursor });
      linkNextPage(request, reply, page.nextCursor);
      const items = page.items.map((result) => presentResult(result, collection?.idField ?? 'id'));
      return reply.type(json).send({ items, nextCursor: page.nextCursor } as never);
    },
  );

  app.get(
    '/jobs/:jobId/results.csv',
    {
      config: { problems: ['job_not_found'] },
      schema: {
        tags: ['jobs'],
        summary: 'The results as CSV, to download',
        description:
          'RFC 4180, UTF-8. The columns: the id, the fields of the collection as the items asked for them, `ref`, then the outcome in ' +
          'columns that begin with `result_`. A cell that a spreadsheet could take for a formula begins with an apostrophe.',
        params: JobParams,
        querystring: Type.Object(filterParameters),
        response: {
          200: { description: 'The results.', content: { [csv]: { schema: Type.String({ examples: [csvExample] }) } } },
        },
      },
    },
    async (request, reply) => {
      const filter = filterOf(request.query as FilterQuery);
      const job = await engine.getJob(request.caller.tenantId, request.params.jobId);
      reply.header('content-disposition', `attachment; filename="${job.jobId}-results.csv"`);
      return streamResults(engine, request, reply, { job, collection: collectionOf(engine, job), type: csv, filter });
    },
  );
}

/** Undefined for a collection that this server no longer has; its jobs can still be read. */
function collectionOf(engine: Engine, job: Job): Collection<never> | undefined {
  return engine.collections.get(job.collection);
}

function refusePaging(asked: { limit: number | undefined; cursor: string | undefined }, type: string): void {
  const name = asked.limit !== undefined ? 'limit' : asked.cursor !== undefined ? 'cursor' : undefined;
  if (name === undefined) return;
  const message = `"${name}" is for ${json}; ${type} holds all results in one answer.`;
  throw new RequestError('invalid_parameter', message, { errors: [{ pointer: `/${name}`, message }] });
}

interface Streamed {
  job: Job;
  collection: Collection<never> | undefined;
  type: typeof ndjson | typeof csv;
  filter: ResultFilter;
}

function streamResults(
  engine: Engine,
  request: FastifyRequest,
  reply: FastifyReply,
  { job, collection, type, filter }: Streamed,
): FastifyReply {
  const asked = { ...filter, tenantId: request.caller.tenantId, jobId: job.jobId };
  const rows = engine.streamResults({ ...asked, withFields: type === csv });
  const idField = collection?.idField ?? 'id';
  const text = type === csv ? csvOf(rows, idField, collection) : ndjsonOf(rows, idField);
  // why highWaterMark 1: a chunk of results is made when the one before is on its way, not earlier
  const body = Readable.from(text, { objectMode: true, highWaterMark: 1 });
  return reply.type(type === csv ? 'text/csv; charset=utf-8; header=present' : ndjson).send(body);
}

async function* ndjsonOf(chunks: AsyncIterable<ResultRow[]>, idField: string): AsyncGenerator<string> {
  for await (const rows of chunks) {
    yield rows.map(({ result }) => `${JSON.stringify(presentResult(result, idField))}\n`).join('');
  }
}

const outcomeColumns = ['index', 'status', 'changed', 'version', 'code', 'message', 'field'].map(
  (name) => `result_${name}`,
);

type Cell = string | number | null;

/**
 * The columns are those of the whole collection, so that the first line can be written before the last item is read. The
 * outcome's begin with `result_`, because `status` and `version` are also what an item may ask for.
 */
async function* csvOf(
  chunks: AsyncIterable<ResultRow[]>,
  idField: string,
  collection: Pick<Collection<never>, 'fields'> | undefined,
): AsyncGenerator<string> {
  const fieldNames = [...(collection?.fields.keys() ?? [])];
  yield toCsv([[idField, ...fieldNames, 'ref', ...outcomeColumns]]);
  for await (const rows of chunks) {
    yield toCsv(rows.map((row) => cellsOf(row, fieldNames)));
  }
}

function cellsOf({ result, fields }: ResultRow, fieldNames: readonly string[]): Cell[] {
  const { index, id, ref, status, changed, version, error } = result;
  return [
    id,
    ...fieldNames.map((name) => inputCell(fields[name])),
    ref ?? null,
    index,
    status,
    changed === undefined ? null : String(changed),
    version ?? null,
    error?.code ?? null,
    error?.message ?? null,
    error?.field ?? null,
  ];
}

/** Text as it is, everything else as JSON; empty where the item did not have the field; null as it is read from CSV. */
function inputCell(value: Json | undefined): Cell {
  if (value === undefined) return null;
  if (value === null) return nullCell;
  return typeof value === 'string' || typeof value === 'number' ? value : JSON.stringify(value);
}

function toCsv(records: Cell[][]): string {
  return stringify(records, { escape_formulas: true, record_delimiter: 'windows' });
}
