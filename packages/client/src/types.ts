export type Json = null | boolean | number | string | Json[] | { [member: string]: Json };

export interface Case {
  caseId: string;
  caseType: string;
  title: string;
  status: string;
  priority: 'low' | 'normal' | 'high' | 'urgent';
  assignee: string | null;
  data: { [member: string]: Json };
  version: number;
  createdAt: string;
  updatedAt: string;
}

export interface NewCase {
  caseId?: string;
  caseType?: string;
  title: string;
  status?: string;
  priority?: Case['priority'];
  assignee?: string | null;
  data?: { [member: string]: Json };
}

/** The fields of a case that may change: an RFC 7396 merge patch, so null removes. */
export interface CasePatch {
  title?: string;
  status?: string;
  priority?: Case['priority'];
  assignee?: string | null;
  data?: { [member: string]: Json };
}

export interface CaseUpdate extends CasePatch {
  caseId: string;
  /** The item is applied only if the case has this version. */
  version?: number;
  /** Your own name for the item; given back with its result. */
  ref?: string;
  /** Makes the item safe to send again in any later batch. */
  idempotencyKey?: string;
}

export interface BatchOptions {
  mode?: 'auto' | 'sync' | 'async';
  waitForCompletion?: boolean;
  returnJobId?: boolean;
  dryRun?: boolean;
  atomic?: boolean;
  maxErrors?: number;
  onDeadline?: 'return' | 'continue';
  return?: 'representation' | 'minimal';
  priority?: 'low' | 'normal' | 'high';
  label?: string;
}

export interface ItemResult<Resource> {
  /** Place in the request, from 0. */
  index: number;
  id: string;
  ref?: string;
  status: 'succeeded' | 'failed' | 'not_processed';
  /** False when the record already was as asked. */
  changed?: boolean;
  version?: number;
  resource?: Resource;
  replayed?: boolean;
  retryable?: boolean;
  error?: { code: string; message: string; field: string | null };
}

export interface Summary {
  total: number;
  succeeded: number;
  failed: number;
  notProcessed: number;
}

export type JobStatus = 'pending' | 'running' | 'paused' | 'completed' | 'cancelled' | 'failed';
export type Outcome = 'all_succeeded' | 'some_failed' | 'all_failed';

export interface Job {
  jobId: string;
  collection: string;
  operation: string;
  status: JobStatus;
  outcome: Outcome | null;
  summary: Summary;
  progress: { processed: number; total: number; itemsPerSecond: number | null; etaSeconds: number | null };
  label: string | null;
  createdAt: string;
  startedAt: string | null;
  completedAt: string | null;
  expiresAt: string;
  parentJobId: string | null;
  links: Record<string, string>;
}

/** Results when the server has them, else the job to follow. */
export type BatchAnswer<Resource> =
  | { done: true; jobId: string; outcome: Outcome; summary: Summary; results: ItemResult<Resource>[] }
  | { done: false; jobId: string; job: Job };

export interface Page<Row> {
  items: Row[];
  nextCursor: string | null;
}

export interface HistoryEntry {
  version: number | null;
  jobId: string;
  index: number;
  actor: string;
  changedAt: string;
  before: { [field: string]: Json } | null;
  after: { [field: string]: Json };
}
