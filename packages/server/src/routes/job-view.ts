import { type ItemResult, isTerminal, isUploading, type Job, outcomeOf, progressOf } from '@docket/engine';
import type { FastifyReply } from 'fastify';

/** Where the API is mounted; links are paths, so that they hold behind any proxy. */
export const basePath = '/api/v1';

export function jobPath(jobId: string): string {
  return `${basePath}/jobs/${jobId}`;
}

/** Only what exists for this job, now. */
function linksOf(job: Job): Record<string, string> {
  const self = jobPath(job.jobId);
  const links: Record<string, string> = {
    self,
    status: `${self}/status`,
    results: `${self}/results`,
    resultsCsv: `${self}/results.csv`,
    events: `${self}/events`,
  };
  for (const action of actionsOf(job)) links[action] = `${self}/${action}`;
  return links;
}

/** What can be asked of the job in its state. */
function actionsOf({ status, cancelRequested, dryRun, itemOperation, summary }: Job): string[] {
  if (isUploading({ status, summary })) return [];
  if (!isTerminal(status)) {
    if (cancelRequested) return [];
    return status === 'paused' ? ['cancel', 'resume'] : ['cancel', 'pause'];
  }
  if (dryRun) return status === 'completed' ? ['apply'] : [];
  return [
    ...(summary.succeeded < summary.total ? ['retry'] : []),
    ...(summary.succeeded > 0 && itemOperation === 'update' ? ['revert'] : []),
  ];
}

/** The short form: what somebody who waits for a job wants to know. */
export function presentJobStatus(job: Job) {
  return {
    jobId: job.jobId,
    status: job.status,
    outcome: outcomeOf(job.status, job.summary),
    summary: job.summary,
    progress: progressOf(job, new Date()),
    links: linksOf(job),
  };
}

export function presentJob(job: Job) {
  const { jobId, status, outcome, summary, progress, links } = presentJobStatus(job);
  return {
    jobId,
    collection: job.collection,
    operation: job.operation,
    operationName: job.operationName,
    status,
    cancelRequested: job.cancelRequested,
    outcome,
    summary,
    progress,
    label: job.label,
    priority: job.priority,
    dryRun: job.dryRun,
    atomic: job.atomic,
    createdAt: job.createdAt,
    startedAt: job.startedAt,
    completedAt: job.completedAt,
    expiresAt: job.expiresAt,
    parentJobId: job.parentJobId,
    ...(job.error === null ? {} : { error: job.error }),
    links,
  };
}

/** An item's result, with the id under the collection's own name too. */
export function presentResult(result: ItemResult, idField: string): object {
  const { index, id, ...rest } = result;
  return { index, id, [idField]: id, ...rest };
}

/** 202: the job, where to follow it, and when to ask first. */
export function replyAccepted(reply: FastifyReply, job: Job): object {
  reply.code(202).header('location', jobPath(job.jobId)).header('retry-after', '1');
  return { ...presentJob(job), queued: job.summary.total };
}

/** Says when it is worth asking again, as long as the job has not ended. */
export function suggestRetry(reply: FastifyReply, job: Job): void {
  if (!isTerminal(job.status)) reply.header('retry-after', '1');
}
