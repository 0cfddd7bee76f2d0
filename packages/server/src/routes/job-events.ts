import { Readable } from 'node:stream';
import type { Engine, JobEvent } from '@docket/engine';
import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';
import { presentJob, presentJobStatus, presentResult } from './job-view.ts';
import { JobParams, jobExample } from './schemas.ts';

const eventStream = 'text/event-stream';
/** A line now and then keeps proxies from closing a stream on which nothing happens. */
const keepAliveMs = 15_000;
/** A stream is ended after so long, and followed again by itself: so a key that was revoked does not listen for ever. */
const longestStreamMs = 10 * 60_000;
const reconnectMs = 1_000;
/** Bytes of events that wait for a client that is slow; the rest is not made before it takes them. */
const heldBytes = 4_096;

const example = `id: c0
event: progress
data: {"jobId":"${jobExample.jobId}","status":"running","summary":{"total":2000,"succeeded":999,"failed":1,"notProcessed":0}}

id: c0_1_1204
event: failure
data: {"index":1204,"id":"CASE-404","caseId":"CASE-404","status":"failed","error":{"code":"not_found"}}

`;

/** What happens to a job, as server-sent events (WHATWG HTML, section 9.2). */
export function registerEventRoute(app: Api, { engine, closing }: Deps): void {
  app.get(
    '/jobs/:jobId/events',
    {
      config: { problems: ['job_not_found'] },
      schema: {
        tags: ['jobs'],
        summary: 'Follow a job as server-sent events',
        description:
          '`progress` (the short form of the job) at once and then every 250 ms at most, `failure` (the result of an item) as items fail, ' +
          '`end` (the job). A stream that breaks off is resumed with `Last-Event-ID`, as `EventSource` does by itself: what was told is ' +
          'left out. 204 once the end was told.',
        params: JobParams,
        headers: Type.Object({
          'last-event-id': Type.Optional(Type.String({ description: 'The id of the last event that was received.' })),
        }),
        response: {
          200: { description: 'The events.', content: { [eventStream]: { schema: Type.String(), example } } },
          204: Type.Null({ description: 'The end was told already.' }),
        },
      },
    },
    async (request, reply) => {
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const signal = AbortSignal.any([gone.signal, closing, AbortSignal.timeout(longestStreamMs)]);
      const { jobId } = request.params;
      const lastEventId = request.headers['last-event-id'] as string | undefined;
      const events = engine.jobEvents({ tenantId: request.caller.tenantId, jobId, lastEventId, signal });
      const first = await events.next();
      if (first.done && !signal.aborted) return reply.code(204).send(undefined as never);
      reply.type(eventStream).header('cache-control', 'no-store').header('x-accel-buffering', 'no');
      return reply.send(streamOf(engine, first, events) as never);
    },
  );
}

/** Events as text, made when their receiver is ready for them. */
function streamOf(engine: Engine, first: IteratorResult<JobEvent>, events: AsyncGenerator<JobEvent>): Readable {
  let ready: (() => void) | undefined;
  const stream = new Readable({
    highWaterMark: heldBytes,
    read: () => ready?.(),
    destroy: (error, done) => {
      clearInterval(keepAlive);
      ready?.();
      void events.return(undefined);
      done(error);
    },
  });
  const keepAlive = setInterval(() => stream.push(': still there\n\n'), keepAliveMs).unref();
  const tell = async () => {
    stream.push(`retry: ${reconnectMs}\n\n`);
    for (let next = first; !next.done && !stream.destroyed; next = await events.next()) {
      keepAlive.refresh();
      if (stream.push(line(engine, next.value))) continue;
      await new Promise<void>((resolve) => {
        ready = resolve;
      });
      ready = undefined;
    }
    if (!stream.destroyed) stream.push(null);
  };
  tell().catch((error) => stream.destroy(error));
  return stream;
}

function line(engine: Engine, event: JobEvent): string {
  return `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(dataOf(engine, event))}\n\n`;
}

function dataOf(engine: Engine, event: JobEvent): object {
  switch (event.kind) {
    case 'progress':
      return presentJobStatus(event.job);
    case 'failure':
      return presentResult(event.result, engine.collections.get(event.job.collection)?.idField ?? 'id');
    case 'end':
      return presentJob(event.job);
  }
}
