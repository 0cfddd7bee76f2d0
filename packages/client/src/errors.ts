import type { ItemResult, Summary } from './batch.ts';

/** Why an item was not applied. */
export type KnownItemCode =
  | 'not_found'
  | 'validation_failed'
  | 'unknown_field'
  | 'invalid_transition'
  | 'version_conflict'
  | 'constraint_violation'
  | 'already_exists'
  | 'deadline_exceeded'
  | 'stopped'
  | 'cancelled'
  | 'internal';

/** Codes that the server has for whole requests, beside those of items. Each has a page at `/errors/<code>` of the server. */
export type KnownRequestCode =
  | 'unauthenticated'
  | 'forbidden'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'not_acceptable'
  | 'unsupported_media_type'
  | 'rate_limited'
  | 'quota_exceeded'
  | 'malformed_body'
  | 'unknown_option'
  | 'invalid_parameter'
  | 'batch_empty'
  | 'batch_too_large'
  | 'atomic_batch_failed'
  | 'expected_count_mismatch'
  | 'unknown_collection'
  | 'unknown_operation'
  | 'job_not_found'
  | 'job_conflict'
  | 'idempotency_key_invalid'
  | 'idempotency_key_reused'
  | 'idempotency_in_progress'
  | 'overloaded'
  | 'database_unavailable';

/** Text that is usually one of the named; a newer server may know more. */
type Open<Known extends string> = Known | (string & {});

export type ItemCode = Open<KnownItemCode>;
export type KnownErrorCode =
  | KnownItemCode
  | KnownRequestCode
  | 'network_error'
  | 'timeout'
  | 'job_timeout'
  | 'webhook_invalid'
  | 'unreadable_answer';
export type ErrorCode = Open<KnownErrorCode>;

/** A place in the request that is wrong. */
export interface InputError {
  /** RFC 6901 pointer into the body; for parameters and headers, `/` and the name. */
  pointer: string;
  message: string;
}

/** An RFC 9457 problem document, as the server sends it. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  instance?: string;
  requestId?: string;
  limit?: number;
  actual?: number;
  errors?: InputError[];
  /** Of an atomic batch that was not applied. */
  jobId?: string;
  outcome?: string;
  summary?: Summary;
  results?: ItemResult<unknown>[];
}

interface Details {
  cause?: unknown;
  status?: number;
  requestId?: string | null;
  retryAfterMs?: number | undefined;
  problem?: Partial<Problem>;
}

/**
 * Every failure that is not the caller's own (an aborted signal rejects with its reason, a wrong argument with TypeError).
 * Branch on `code`; `message` says what is wrong and how to mend it.
 */
export class DocketError extends Error {
  override readonly name: string = 'DocketError';
  readonly code: ErrorCode;
  /** The HTTP status; undefined where there was no answer. */
  readonly status: number | undefined;
  /** Names the request in the server's log; to be quoted to support. */
  readonly requestId: string | null;
  /** The code in words, the same each time. */
  readonly title: string | undefined;
  readonly detail: string;
  /** The places of the request that are wrong. */
  readonly errors: readonly InputError[];
  /** Of an `atomic` batch that was not applied (`atomic_batch_failed`): what became of each item. */
  readonly results: readonly ItemResult<unknown>[] | undefined;
  /** The bound that was passed, and what the request had instead. */
  readonly limit: number | undefined;
  readonly actual: number | undefined;
  /** When the server says that the same request may succeed, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** All that the server said; empty where there was no answer. */
  readonly problem: Partial<Problem>;

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    const problem = details.problem ?? {};
    this.code = code;
    this.status = details.status;
    this.requestId = details.requestId ?? problem.requestId ?? null;
    this.title = problem.title;
    this.detail = problem.detail ?? message;
    this.errors = problem.errors ?? [];
    this.results = problem.results;
    this.limit = problem.limit;
    this.actual = problem.actual;
    this.retryAfterMs = details.retryAfterMs;
    this.problem = problem;
  }
}

/** No answer came, also not to the retries: code `network_error`. A write may have been applied; its key makes it safe to repeat. */
export class NetworkError extends DocketError {
  override readonly name = 'NetworkError';

  constructor(what: string, cause: unknown) {
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const said =
      reason instanceof Error ? ((reason.message || (reason as { code?: string }).code) ?? '') : String(reason);
    super('network_error', `${what} got no answer: ${said}`, { cause });
  }
}

/** Nothing was heard for `timeoutMs`, also not by the retries: code `timeout`. A write may have been applied. */
export class TimeoutError extends DocketError {
  override readonly name = 'TimeoutError';

  constructor(what: string, ms: number) {
    super('timeout', `${what} got no answer within ${ms} ms.`);
  }
}

/** The job did not end in the time that the caller was ready to wait: code `job_timeout`. It goes on. */
export class JobTimeoutError extends DocketError {
  override readonly name = 'JobTimeoutError';
  readonly jobId: string;

  constructor(jobId: string, ms: number) {
    super(
      'job_timeout',
      `${jobId} has not ended within ${ms} ms. It goes on: wait again, or longer with \`timeoutMs\`, or come back to it with docket.jobs.follow("${jobId}").`,
    );
    this.jobId = jobId;
  }
}
