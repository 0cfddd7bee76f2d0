import { RequestError } from '../domain/codes.ts';
import { parseJobId } from '../domain/ids.ts';
import { isTerminal, isUploading, type Job } from '../domain/job.ts';
import { cancelPendingChunks } from '../storage/chunk-store.ts';
import { lockStatus, pauseOpenJob, removeJob, requestCancel, resumePausedJob } from '../storage/control-store.ts';
import type { Pool } from '../storage/database.ts';
import type { TellEffect } from './effects.ts';
import type { Caller, DecidedItems } from './engine.ts';
import type { JobReader } from './job-reader.ts';

export interface ControlDeps {
  pool: Pool;
  jobs: JobReader;
  jobTtlSeconds: number;
  onDecided: (items: DecidedItems) => void;
  tellEffect: TellEffect;
}

/** Cancels what is not being applied at this moment; see `Engine.cancelJob`. */
export async function cancelJob(
  { pool, jobs, jobTtlSeconds: ttlSeconds, onDecided, tellEffect }: ControlDeps,
  { tenantId }: Caller,
  jobId: string,
): Promise<Job> {
  const { collection } = await receivedJob(jobs, tenantId, jobId);
  const jobUuid = parseJobId(jobId) as string;
  const notProcessed = await pool.transaction(async (tx) => {
    const items = await cancelPendingChunks(tx, tenantId, jobUuid);
    // why not sent together: a job that had ended before is not ended by this
    if (!(await requestCancel(tx, tenantId, jobUuid, { cancelledItems: items, ttlSeconds }))) return undefined;
    await Promise.all([tellEffect(tx, { tenantId, jobUuid }, { mayEnd: true }), tx.commit()]);
    return items;
  });
  if (notProcessed) onDecided({ collection, succeeded: 0, failed: 0, notProcessed });
  const job = await jobs.get(tenantId, jobId);
  if (notProcessed === undefined && job.status !== 'cancelled') throw conflict(job, 'cancelled');
  return job;
}

/** Lets no further chunk of a job begin; see `Engine.pauseJob`. */
export async function pauseJob(deps: ControlDeps, caller: Caller, jobId: string): Promise<Job> {
  return await changeOpenJob(deps, caller, jobId, { change: pauseOpenJob, asked: 'paused' });
}

/** Lets a paused job go on; see `Engine.resumeJob`. */
export async function resumeJob(deps: ControlDeps, caller: Caller, jobId: string): Promise<Job> {
  return await changeOpenJob(deps, caller, jobId, { change: resumePausedJob, asked: 'resumed' });
}

/** A job that could not be changed though it is open was as asked already. */
async function changeOpenJob(
  { pool, jobs }: ControlDeps,
  { tenantId }: Caller,
  jobId: string,
  { change, asked }: { change: typeof pauseOpenJob; asked: string },
): Promise<Job> {
  await receivedJob(jobs, tenantId, jobId);
  const changed = await pool.transaction((tx) => change(tx, tenantId, parseJobId(jobId) as string));
  const job = await jobs.get(tenantId, jobId);
  if (!changed && (isTerminal(job.status) || job.cancelRequested)) throw conflict(job, asked);
  return job;
}

/** Removes an ended job; see `Engine.deleteJob`. */
export async function deleteJob({ pool, jobs }: ControlDeps, { tenantId }: Caller, jobId: string): Promise<void> {
  const jobUuid = parseJobId(jobId);
  const found = await pool.transaction(async (tx) => {
    const status = jobUuid && (await lockStatus(tx, tenantId, jobUuid));
    if (!status) return false;
    if (!isTerminal(status)) {
      const detail = `The job is ${status}; only an ended job can be deleted. Wait for its end, or cancel it first.`;
      throw new RequestError('job_conflict', detail);
    }
    await Promise.all([removeJob(tx, tenantId, jobUuid), tx.commit()]);
    return true;
  });
  // why: this answers with the error of an unknown job
  if (!found) await jobs.get(tenantId, jobId);
}

/** Throws `job_conflict` while the job's items are still being received: what it is to do is not known yet. */
async function receivedJob(jobs: JobReader, tenantId: string, jobId: string): Promise<Job> {
  const job = await jobs.get(tenantId, jobId);
  if (!isUploading(job)) return job;
  const detail =
    'The items of the job are still being uploaded. Wait for the end of the upload, or break it off: then nothing is applied.';
  throw new RequestError('job_conflict', detail, { retryAfter: 1 });
}

function conflict(job: Job, asked: string): RequestError {
  const state = isTerminal(job.status) ? `has ended (${job.status})` : 'is being cancelled';
  return new RequestError('job_conflict', `The job ${state}, so it cannot be ${asked} any more.`);
}
