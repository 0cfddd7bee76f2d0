import { type Engine, isTerminal, type Job } from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';

interface Wait {
  request: FastifyRequest;
  reply: FastifyReply;
  jobId: string;
  seconds: number;
  closing: AbortSignal;
}

/** The job at its end, or as it is when the time is up, the client has gone or the server stops. */
export async function waitForEnd(engine: Engine, { request, reply, jobId, seconds, closing }: Wait): Promise<Job> {
  const { tenantId } = request.caller;
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
