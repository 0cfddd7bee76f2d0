import type { BatchOperation, Priority } from './batch.ts';
import type { Json } from './json.ts';

/**
 * The states of a job. `failed` means that the job itself could not run; failed items are in its summary and outcome.
 * A job that is being cancelled is `running` until the chunks in flight have ended.
 *
 *   pending ──> running ──> completed
 *      │  ▲      │  ▲  └──> failed
 *      ▼  │      ▼  │
 *     paused <───┘  │         (pending, running and paused may each become cancelled)
 *      └────────────┘
 *
 * completed, failed and cancelled are final: such a job never changes again.
 */
export const jobStatuses = ['pending', 'running', 'paused', 'completed', 'cancelled', 'failed'] as const;
export type JobStatus = (typeof jobStatuses)[number];

export const terminalStatuses: readonly JobStatus[] = ['completed', 'cancelled', 'failed'];

export function isTerminal(status: JobStatus): boolean {
  return terminalStatuses.includes(status);
}

export interface Summary {
  total: number;
  succeeded: number;
  failed: number;
  notProcessed: number;
}

export type Outcome = 'all_succeeded' | 'some_failed' | 'all_failed';

/** `apply`, `retry` and `revert` follow from another job. `update_one` and `create_one` are single writes (PATCH, POST of one record): recorded, but not listed among jobs. */
export type JobOperation = 'update' | 'create' | 'apply' | 'retry' | 'revert' | 'update_one' | 'create_one';

/** The record of a batch's execution. Times are RFC 3339, of the database's clock. */
export interface Job {
  jobId: string;
  collection: string;
  operation: JobOperation;
  /** The name the caller used for what the job does, where it used one. */
  operationName: string | null;
  /** What each item does to its record. */
  itemOperation: BatchOperation;
  status: JobStatus;
  /** It is being cancelled, or was. */
  cancelRequested: boolean;
  summary: Summary;
  priority: Priority;
  label: string | null;
  dryRun: boolean;
  atomic: boolean;
  /** Results hold the resource. */
  representation: boolean;
  /** The results stood in the answer to the request. */
  synchronous: boolean;
  parentJobId: string | null;
  actor: string;
  /** Why a job with status `failed` could not run. */
  error: Json;
  createdAt: string;
  startedAt: string | null;
  completedAt: string | null;
  expiresAt: string;
}

/** An item that was not processed counts as not succeeded. Null while the job runs; an empty job has succeeded,
 * unless it could not run. */
export function outcomeOf(status: JobStatus, { total, succeeded }: Summary): Outcome | null {
  if (!isTerminal(status)) return null;
  if (succeeded === total && status !== 'failed') return 'all_succeeded';
  return succeeded === 0 ? 'all_failed' : 'some_failed';
}

export function processedOf(summary: Summary): number {
  return summary.succeeded + summary.failed + summary.notProcessed;
}

/** The items of the job are still being received: no other pending job has a total of 0. */
export function isUploading({ status, summary }: Pick<Job, 'status' | 'summary'>): boolean {
  return status === 'pending' && summary.total === 0;
}

export interface Progress {
  processed: number;
  total: number;
  itemsPerSecond: number | null;
  etaSeconds: number | null;
}

/** Rate over the job's own running time; null before it has started. */
export function progressOf(job: Job, now: Date): Progress {
  const processed = processedOf(job.summary);
  const { total } = job.summary;
  const end = job.completedAt ? Date.parse(job.completedAt) : now.getTime();
  const seconds = job.startedAt ? (end - Date.parse(job.startedAt)) / 1000 : 0;
  const rate = seconds > 0 ? processed / seconds : null;
  const remaining = total - processed;
  const eta = isTerminal(job.status) ? 0 : rate ? Math.ceil(remaining / rate) : null;
  return { processed, total, itemsPerSecond: rate === null ? null : Math.round(rate), etaSeconds: eta };
}
