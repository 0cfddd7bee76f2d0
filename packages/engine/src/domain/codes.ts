/**
 * Every code that a batch, an item or a request can be answered with. A code is stable: clients branch on it, and it is
 * never reused for something else. The HTTP status and title of each live in one exhaustive table in the server.
 */

/** Why one item was not applied; stands in that item's result. */
export const itemCodes = [
  'not_found',
  'validation_failed',
  'unknown_field',
  'invalid_transition',
  'version_conflict',
  'constraint_violation',
  'already_exists',
  'deadline_exceeded',
  'stopped',
  'cancelled',
  'internal',
] as const;
export type ItemCode = (typeof itemCodes)[number];

/** Why a whole request was refused; nothing of it was applied. */
export const requestCodes = [
  'malformed_body',
  'unknown_option',
  'invalid_parameter',
  'batch_empty',
  'batch_too_large',
  'atomic_batch_failed',
  'expected_count_mismatch',
  'unknown_collection',
  'unknown_operation',
  'job_not_found',
  'job_conflict',
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'idempotency_in_progress',
  'rate_limited',
  'overloaded',
  'database_unavailable',
] as const;
export type RequestCode = (typeof requestCodes)[number];

/** Item codes after which sending the same item again may succeed without a change to it. */
export const retryableItemCodes: readonly ItemCode[] = ['deadline_exceeded', 'stopped', 'cancelled', 'internal'];

export function isRetryable(code: ItemCode): boolean {
  return retryableItemCodes.includes(code);
}

/** One place in the input that is wrong, with the RFC 6901 JSON pointer to it. */
export interface InputError {
  pointer: string;
  message: string;
}

export interface RequestErrorDetails {
  /** The bound that was passed, where there is one. */
  limit?: number;
  /** What the request had instead. */
  actual?: number;
  errors?: InputError[];
  /** Seconds after which the same request may succeed. */
  retryAfter?: number;
  /** Members that a code adds to its problem document. */
  extra?: Record<string, unknown>;
  cause?: unknown;
}

/** A request that the engine refuses as a whole: nothing of it was applied. `message` names what, where and how to mend it. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly code: RequestCode;
  readonly details: RequestErrorDetails;

  constructor(code: RequestCode, message: string, details: RequestErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }
}
