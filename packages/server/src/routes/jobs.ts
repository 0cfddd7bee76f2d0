import type { JobStatus } from '@docket/engine';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { registerControlRoutes } from './job-control.ts';
import { registerEventRoute } from './job-events.ts';
import { registerResultRoutes } from './job-results.ts';
import { presentJob, presentJobStatus, suggestRetry } from './job-view.ts';
import { waitForEnd } from './job-wait.ts';
import { linkNextPage } from './pages.ts';
import { longestWait, parsePrefer, preferenceApplied } from './prefer.ts';
import {
  CursorParameter,
  JobParams,
  JobSchema,
  jobExample,
  limitParameter,
  pageAnswer,
  StatusSchema,
} from './schemas.ts';

// why: the database knows no text with NUL
const FilterText = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$' });

const retryAfter = {
  'Retry-After': { type: 'integer', description: 'Seconds until it is worth asking again; absent at the end.' },
};

const ShortJob = Type.Pick(JobSchema, ['jobId', 'status', 'outcome', 'summary', 'progress', 'links']);
const { jobId, status, outcome, summary, progress, links } = jobExample;

/** Jobs: the list, one of them, waiting for its end, its results, and what can be done with it. */
export function registerJobRoutes(app: Api, deps: Deps): void {
  registerJobReads(app, deps);
  registerResultRoutes(app, deps);
  registerEventRoute(app, deps);
  registerControlRoutes(app, deps);
}

function registerJobReads(app: Api, { engine, closing }: Deps): void {
  app.get(
    '/jobs',
    {
      schema: {
        tags: ['jobs'],
        summary: 'List jobs, newest first',
        description:
          'All batches of the tenant for as long as they are kept. Writes of a single record are not among them.',
        querystring: Type.Object({
          status: Type.Optional(StatusSchema),
          collection: Type.Optional(FilterText),
          label: Type.Optional(FilterText),
          limit: Type.Optional(limitParameter(200, 50)),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: pageAnswer(JobSchema, { description: 'A page.', examples: [{ items: [jobExample], nextCursor: null }] }),
        },
      },
    },
    async (request, reply) => {
      const { status, collection, label, limit, cursor } = request.query as Record<string, string> & { limit: number };
      const page = await engine.listJobs({
        tenantId: request.caller.tenantId,
        status: status as JobStatus | undefined,
        collection,
        label,
        limit,
        cursor,
      });
      linkNextPage(request, reply, page.nextCursor);
      return { items: page.items.map(presentJob), nextCursor: page.nextCursor };
    },
  );

  app.get(
    '/jobs/:jobId',
    {
      config: { problems: ['job_not_found'] },
      schema: {
        tags: ['jobs'],
        summary: 'Read a job',
        params: JobParams,
        response: {
          200: Type.Object(JobSchema.properties, {
            description: 'The job.',
            examples: [jobExample],
            headers: retryAfter,
          } as never),
        },
      },
    },
    async (request, reply) => {
      const job = await engine.getJob(request.caller.tenantId, request.params.jobId);
      suggestRetry(reply, job);
      return presentJob(job) as never;
    },
  );

  app.get(
    '/jobs/:jobId/status',
    {
      config: { problems: ['job_not_found'] },
      schema: {
        tags: ['jobs'],
        summary: 'Ask how a job stands, or wait for its end',
        params: JobParams,
        querystring: Type.Object({
          wait: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: longestWait,
              description: 'Answer when the job ends, or after so many seconds. Also: Prefer: wait=N.',
            }),
          ),
        }),
        response: {
          200: Type.Object(ShortJob.properties, {
            description: 'The short form of the job.',
            examples: [{ jobId, status, outcome, summary, progress, links }],
            headers: retryAfter,
          } as never),
        },
      },
    },
    async (request, reply) => {
      const preferred = request.query.wait === undefined ? parsePrefer(request.headers.prefer).wait : undefined;
      const applied = preferenceApplied({ wait: preferred });
      reply.header('vary', 'Prefer');
      if (applied !== undefined) reply.header('preference-applied', applied);
      const seconds = request.query.wait ?? preferred ?? 0;
      const job = await waitForEnd(engine, { request, reply, jobId: request.params.jobId, seconds, closing });
      suggestRetry(reply, job);
      return presentJobStatus(job) as never;
    },
  );
}
