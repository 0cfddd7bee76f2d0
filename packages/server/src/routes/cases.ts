import { isJsonObject, type Json, presentRecord } from '@docket/engine';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { collectionNamed, registerRecordRoutes } from './records.ts';
import { checkedByCode } from './schemas.ts';

const mostIds = 1_000;

const CaseStatus = Type.Object({
  caseId: Type.String(),
  status: Type.String(),
  version: Type.Integer(),
  updatedAt: Type.String({ format: 'date-time' }),
  pendingJobIds: Type.Array(Type.String(), { description: 'Jobs that hold this case and have not decided it yet.' }),
});

/** The routes of single cases, and the status of many at once. */
export function registerCaseRoutes(app: Api, deps: Deps): void {
  registerRecordRoutes(app, deps, 'cases');
  const { engine } = deps;
  const collection = collectionNamed(deps, 'cases');

  app.post(
    '/cases/refresh-status',
    {
      validatorCompiler: checkedByCode(app),
      config: { problems: ['batch_empty'] },
      schema: {
        tags: ['cases'],
        summary: 'The present status of many cases',
        description: `Up to ${mostIds} ids, answered in the order of the request, from the primary.`,
        body: Type.Object(
          {
            caseIds: Type.Array(Type.String(), { minItems: 1, maxItems: mostIds }),
            forceCacheInvalidation: Type.Optional(
              Type.Boolean({ description: 'Drop cached copies of these cases on every node first.' }),
            ),
          },
          { additionalProperties: false, examples: [{ caseIds: ['CASE-001', 'CASE-404'] }] },
        ),
        response: {
          200: Type.Object(
            { cases: Type.Array(CaseStatus), notFound: Type.Array(Type.String()) },
            {
              description: 'Those that exist, and the ids of those that do not.',
              examples: [
                {
                  cases: [
                    {
                      caseId: 'CASE-001',
                      status: 'Under Review',
                      version: 4,
                      updatedAt: '2026-05-04T09:20:02.871Z',
                      pendingJobIds: [],
                    },
                  ],
                  notFound: ['CASE-404'],
                },
              ],
            },
          ),
        },
      },
    },
    async (request) => {
      const { tenantId } = request.caller;
      const caseIds = readCaseIds(request);
      const distinct = [...new Set(caseIds)];
      // why first: a job that ends between the two reads is then already in the records, and at worst still named as pending
      const pending = await engine.pendingJobs(tenantId, 'cases', distinct);
      const records = await engine.readRecords(tenantId, 'cases', distinct);
      const present = caseIds.flatMap((id) => {
        const record = records.get(id);
        if (!record) return [];
        const { status, version, updatedAt } = presentRecord(collection, record);
        return { caseId: id, status, version, updatedAt, pendingJobIds: pending.get(id) ?? [] };
      });
      return { cases: present as never, notFound: caseIds.filter((id) => !records.has(id)) };
    },
  );
}

function readCaseIds(request: FastifyRequest): string[] {
  const body = request.body as Json | undefined;
  if (!isJsonObject(body)) throw malformed('', 'The body must be an object with `caseIds`.');
  const unknown = Object.keys(body).find((name) => name !== 'caseIds' && name !== 'forceCacheInvalidation');
  if (unknown !== undefined)
    throw malformed('', `Unknown member "${unknown}"; allowed are caseIds and forceCacheInvalidation.`);
  const { caseIds, forceCacheInvalidation } = body;
  if (forceCacheInvalidation !== undefined && typeof forceCacheInvalidation !== 'boolean') {
    throw malformed('/forceCacheInvalidation', '`forceCacheInvalidation` must be true or false.');
  }
  if (!Array.isArray(caseIds)) throw malformed('/caseIds', '`caseIds` must be an array of ids.');
  if (caseIds.length === 0) throw new ApiError('batch_empty', '`caseIds` is empty; there is nothing to look up.');
  if (caseIds.length > mostIds) {
    throw new ApiError(
      'batch_too_large',
      `\`caseIds\` has ${caseIds.length} ids; there may be ${mostIds}. Ask in parts.`,
      {
        limit: mostIds,
        actual: caseIds.length,
      },
    );
  }
  const wrong = caseIds.findIndex((id) => typeof id !== 'string' || id === '');
  if (wrong !== -1) throw malformed(`/caseIds/${wrong}`, 'An id must be text and not empty.');
  return caseIds as string[];
}

function malformed(pointer: string, message: string): ApiError {
  return new ApiError('malformed_body', message, { errors: [{ pointer, message }] });
}
