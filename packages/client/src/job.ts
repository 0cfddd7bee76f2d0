import type { Outcome, Summary } from './batch.ts';

export type JobStatus = 'pending' | 'running' | 'paused' | 'completed' | 'cancelled' | 'failed';

export interface JobProgress {
  /** Items decided so far. */
  processed: number;
  total: number;
  itemsPerSecond: number | null;
  etaSeconds: number | null;
}

/** How a job stands. */
export interface JobState {
  jobId: string;
  status: JobStatus;
  /** Null until the end. */
  outcome: Outcome | null;
  summary: Summary;
  progress: JobProgress;
  /** Paths of what there is beside it, and of what can be asked of it now. */
  links: { [name: string]: string };
}

export interface Job extends JobState {
  collection: string;
  operation: 'update' | 'create' | 'apply' | 'retry' | 'revert' | 'update_one' | 'create_one';
  /** The name that /bulk-jobs was given. */
  operationName: string | null;
  cancelRequested: boolean;
  label: string | null;
  priority: 'low' | 'normal' | 'high';
  dryRun: boolean;
  atomic: boolean;
  createdAt: string;
  startedAt: string | null;
  completedAt: string | null;
  /** When the job and its results are removed. */
  expiresAt: string;
  parentJobId: string | null;
  /** Why a job with status `failed` could not run. */
  error?: unknown;
}

export interface JobFilters {
  status?: JobStatus;
  collection?: string;
  label?: string;
}

/** How a batch ended. */
export interface JobEnd {
  jobId: string;
  /** `completed`: every item was decided. `cancelled`: what is applied stays. `failed`: the job itself could not run; see `error`. */
  status: Extract<JobStatus, 'completed' | 'cancelled' | 'failed'>;
  outcome: Outcome;
  summary: Summary;
  error?: unknown;
}

/** The end of a job that has one; undefined while it goes on. */
export function endOf(job: Pick<Job, 'jobId' | 'status' | 'outcome' | 'summary' | 'error'>): JobEnd | undefined {
  const { jobId, status, outcome, summary, error } = job;
  if (outcome === null || status === 'pending' || status === 'running' || status === 'paused') return undefined;
  return { jobId, status, outcome, summary, ...(error === undefined ? {} : { error }) };
}
