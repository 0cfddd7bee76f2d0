import { type Engine, isTerminal, type Job, type JobStatus } from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { registerResultRoutes } from './job-results.ts';
import { presentJob, presentJobStatus, replyAccepted, suggestRetry } from './job-view.ts';
import { linkNextPage } from './pages.ts';
import { longestWait, parsePrefer, preferenceApplied } from './prefer.ts';
import {
  AcceptedSchema,
  CursorParameter,
  JobSchema,
  jobExample,
  limitParameter,
  pageAnswer,
  StatusSchema,
} from './schemas.ts';

const JobParams = Type.Object({
  jobId: Type.String({ description: 'The id of the job.', examples: [jobExample.jobId] }),
});

// why: the database knows no text with NUL
const FilterText = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$' });

const retryAfter = {
  'Retry-After': { type: 'integer', description: 'Seconds until it is worth asking again; absent at the end.' },
};

const ShortJob = Type.Pick(JobSchema, ['jobId', 'status', 'outcome', 'summary', 'progress', 'links']);
const { jobId, status, outcome, summary, progress, links } = jobExample;

/** Jobs: the list, one of them, waiting for its end, its results, and applying a preview. */
export function registerJobRoutes(app: Api, deps: Deps): void {
  registerJobReads(app, deps);
  registerResultRoutes(app, deps);
  registerApply(app, deps);
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
      const job = await waitFor(engine, { request, reply, seconds, closing });
      suggestRetry(reply, job);
      return presentJobStatus(job) as never;
    },
  );
}

interface Wait {
  request: FastifyRequest;
  reply: FastifyReply;
  seconds: number;
  closing: AbortSignal;
}

/** The job at its end, or as it is when the time is up, the client has gone or the server stops. */
async function waitFor(engine: Engine, { request, reply, seconds, closing }: Wait): Promise<Job> {
  const { tenantId } = request.caller;
  const { jobId } = request.params as { jobId: string };
  const job = await engine.getJob(tenantId, jobId);
  if (seconds === 0 || isTerminal(job.status) || closing.aborted) return job;
  const gone = new AbortController();
  const leave = () => gone.abort();
  reply.raw.once('close', leave);
  const signal = AbortSignal.any([gone.signal, closing]);
  try {
    return await engine.waitForJob(tenantId, jobId, seconds * 1_000, signal);
  } catch (error) {
    if (signal.aborted) return job;
    throw error;
  } finally {
    reply.raw.off('close', leave);
  }
}

function registerApply(app: Api, { engine }: Deps): void {
  app.post(
    '/jobs/:jobId/apply',
    {
      config: { problems: ['job_not_found', 'job_conflict'], optionalBody: true },
      schema: {
        tags: ['jobs'],
        summary: 'Apply a finished dry run',
        description:
          'Applies exactly what the dry run showed, as a new job; an item whose record has changed since fails with `version_conflict`. ' +
          'Asked again, it answers with the same job.',
        params: JobParams,
        response: { 202: AcceptedSchema },
      },
    },
    async (request, reply) =>
      replyAccepted(reply, await engine.applyPreview(request.caller, request.params.jobId)) as never,
  );
}
