import { isJsonObject, isTerminal, type Job, type Json, RequestError, type RetryChoice } from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { jobPath, presentJob, replyAccepted, suggestRetry } from './job-view.ts';
import { waitForEnd } from './job-wait.ts';
import { parsePrefer, preferenceApplied } from './prefer.ts';
import { AcceptedSchema, checkedByCode, JobParams, JobSchema, jobExample, requestHeaders } from './schemas.ts';

/** How long a cancellation waits for the chunks in flight, in seconds. */
const cancelWait = 2;

/** What can be done with a job: stop it, let it wait, make another one of it, remove it. */
export function registerControlRoutes(app: Api, deps: Deps): void {
  registerStops(app, deps);
  registerFollowUps(app, deps);
  registerDelete(app, deps);
}

function registerStops(app: Api, { engine, closing }: Deps): void {
  const stops = [
    {
      name: 'cancel',
      act: engine.cancelJob,
      wait: cancelWait,
      summary: 'Cancel what a job has not reached',
      description:
        'What is applied stays, the rest is `not_processed`. Chunks that are being applied at this moment finish: the answer waits for ' +
        'them for two seconds; a job that is still `running` then ends as `cancelled` by itself. Asked again, it answers with the job.',
      example: { status: 'cancelled', cancelRequested: true, outcome: 'some_failed' },
    },
    {
      name: 'pause',
      act: engine.pauseJob,
      wait: 0,
      summary: 'Let a job wait',
      description:
        'No further chunk is begun; those that are being applied finish. Asked again, it answers with the job.',
      example: { status: 'paused' },
    },
    {
      name: 'resume',
      act: engine.resumeJob,
      wait: 0,
      summary: 'Let a paused job go on',
      description: 'A job that is not paused is answered as it is.',
      example: { status: 'running' },
    },
  ];
  for (const { name, act, wait, summary, description, example } of stops) {
    app.post(
      `/jobs/:jobId/${name}`,
      {
        config: { problems: ['job_not_found', 'job_conflict'], optionalBody: true },
        schema: {
          tags: ['jobs'],
          summary,
          description,
          params: JobParams,
          response: {
            200: Type.Object(JobSchema.properties, {
              description: 'The job.',
              examples: [{ ...jobExample, ...example }],
            }),
          },
        },
      },
      async (request, reply) => {
        const { jobId } = request.params as { jobId: string };
        const done = await act(request.caller, jobId);
        const job = wait ? await waitForEnd(engine, { request, reply, jobId, seconds: wait, closing }) : done;
        suggestRetry(reply, job);
        return presentJob(job) as never;
      },
    );
  }
}

const Ended = Type.Object(JobSchema.properties, {
  description: 'The job, which has ended within the time of `Prefer: wait`.',
  examples: [{ ...jobExample, status: 'completed', outcome: 'all_succeeded', completedAt: '2026-05-04T09:12:31.350Z' }],
  headers: { Location: { type: 'string', description: 'The job.' } },
} as never);

const RetryBody = Type.Object(
  {
    only: Type.Optional(
      Type.Enum(['failed', 'retryable'], {
        type: 'string',
        default: 'failed',
        description: '`failed`: all items that did not succeed; `retryable`: those that may succeed as they are.',
      }),
    ),
  },
  { additionalProperties: false, examples: [{ only: 'retryable' }] },
);

function registerFollowUps(app: Api, deps: Deps): void {
  const { engine } = deps;
  const followUps = [
    {
      name: 'apply',
      make: (request: FastifyRequest, jobId: string) => engine.applyPreview(request.caller, jobId),
      summary: 'Apply a finished dry run',
      description:
        'Applies exactly what the dry run showed, as a new job; an item whose record has changed since fails with `version_conflict`. ' +
        'Asked again, it answers with the same job.',
    },
    {
      name: 'retry',
      make: (request: FastifyRequest, jobId: string) =>
        engine.retryJob(request.caller, jobId, readChoice(request.body as Json | undefined)),
      body: RetryBody,
      summary: 'Try what failed again',
      description:
        'A new job of the items of an ended one that did not succeed, as they were sent. Asked again, it answers with the same job.',
    },
    {
      name: 'revert',
      make: (request: FastifyRequest, jobId: string) => engine.revertJob(request.caller, jobId),
      summary: 'Undo a job',
      description:
        'A new job that gives each record the values back that it had before the ended one, whatever its lifecycle says. A record that ' +
        'was changed since fails with `version_conflict`. Creations are not undone. Asked again, it answers with the same job; the ' +
        'new job can be reverted too.',
    },
  ];
  for (const { name, make, summary, description, body } of followUps) {
    app.post(
      `/jobs/:jobId/${name}`,
      {
        validatorCompiler: checkedByCode(app),
        config: {
          problems: ['job_not_found', 'job_conflict', 'rate_limited', ...(body ? (['malformed_body'] as const) : [])],
          optionalBody: true,
        },
        schema: {
          tags: ['jobs'],
          summary,
          description,
          params: JobParams,
          headers: Type.Object({ Prefer: requestHeaders.Prefer }),
          ...(body ? { body } : {}),
          response: { 200: Ended, 202: AcceptedSchema },
        },
      },
      async (request, reply) => {
        const { jobId } = request.params as { jobId: string };
        return (await answerWithJob(deps, request, reply, await make(request, jobId))) as never;
      },
    );
  }
}

/** 202 with the new job, or 200 when it has ended within the time that the client prefers to wait. */
async function answerWithJob(
  { engine, closing }: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  { jobId }: Job,
): Promise<object> {
  const { wait } = parsePrefer(request.headers.prefer);
  const job = await waitForEnd(engine, { request, reply, jobId, seconds: wait ?? 0, closing });
  reply.header('vary', 'Prefer');
  const applied = preferenceApplied({ wait });
  if (applied !== undefined) reply.header('preference-applied', applied);
  if (wait === undefined || !isTerminal(job.status)) return replyAccepted(reply, job);
  reply.header('location', jobPath(jobId));
  return presentJob(job);
}

function readChoice(body: Json | undefined): RetryChoice {
  if (body === undefined) return 'failed';
  if (!isJsonObject(body)) throw malformed('', 'The body must be an object, or left out.');
  const unknown = Object.keys(body).find((name) => name !== 'only');
  if (unknown !== undefined) throw malformed(`/${unknown}`, `Unknown member "${unknown}"; allowed here: only.`);
  const { only = 'failed' } = body;
  if (only !== 'failed' && only !== 'retryable') throw malformed('/only', '`only` must be "failed" or "retryable".');
  return only;
}

function malformed(pointer: string, message: string): RequestError {
  return new RequestError('malformed_body', message, { errors: [{ pointer, message }] });
}

function registerDelete(app: Api, { engine }: Deps): void {
  app.delete(
    '/jobs/:jobId',
    {
      config: { problems: ['job_not_found', 'job_conflict'], optionalBody: true },
      schema: {
        tags: ['jobs'],
        summary: 'Remove a job that has ended',
        description:
          'With its results and its Idempotency-Key, which counts as new from then on. What the job changed stays, also in the history of the records.',
        params: JobParams,
        response: { 204: Type.Null({ description: 'It is gone.' }) },
      },
    },
    async (request, reply) => {
      await engine.deleteJob(request.caller, request.params.jobId);
      return reply.code(204).send(null as never);
    },
  );
}
