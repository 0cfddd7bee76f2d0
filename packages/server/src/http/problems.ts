import { type InputError, type ItemCode, itemCodes, type RequestCode, requestCodes } from '@docket/engine';

/** Codes of the HTTP side alone; the engine owns the others. A code is never reused for something else. */
const httpCodes = [
  'unauthenticated',
  'forbidden',
  'route_not_found',
  'method_not_allowed',
  'not_acceptable',
  'unsupported_media_type',
  'quota_exceeded',
] as const;

export type ProblemCode = RequestCode | ItemCode | (typeof httpCodes)[number];

/** Every code there is, in the order of the documentation. */
export const problemCodes: readonly ProblemCode[] = [...httpCodes, ...requestCodes, ...itemCodes];

export interface ProblemKind {
  /** The HTTP status of a whole answer with this code. */
  status: number;
  /** Short and the same each time. */
  title: string;
  /** What has happened. */
  description: string;
  /** What to do about it. */
  remedy: string;
}

/** The one table of errors: documentation pages, the OpenAPI document and every error answer are made from it. */
export const problemKinds: Readonly<Record<ProblemCode, ProblemKind>> = {
  unauthenticated: {
    status: 401,
    title: 'A valid API key is needed',
    description: 'The request has no API key, or one that is unknown, expired or revoked.',
    remedy: 'Send "Authorization: Bearer <key>" or "X-API-Key: <key>" with a key that is in force.',
  },
  forbidden: {
    status: 403,
    title: 'The API key may not do this',
    description: 'The key is valid, but what was asked is not among the things it may do.',
    remedy: 'Use a key with the needed rights.',
  },
  route_not_found: {
    status: 404,
    title: 'There is nothing at this path',
    description: 'No operation exists at the path of the request.',
    remedy: 'Compare the path with the reference at /docs. All operations but /bulk-jobs live under /api/v1.',
  },
  method_not_allowed: {
    status: 405,
    title: 'The path has no such method',
    description: 'The path exists, but not with the method of the request.',
    remedy: 'Use one of the methods in the Allow header.',
  },
  not_acceptable: {
    status: 406,
    title: 'The asked-for representation does not exist',
    description: 'The Accept header names only media types that this operation cannot answer with.',
    remedy: 'Accept one of the media types that the reference lists for the operation.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body has a media type that is not read here',
    description:
      'The Content-Type is missing or none that this operation reads, or the body is compressed in a way it does not read.',
    remedy:
      'Send JSON with "Content-Type: application/json", in UTF-8, without Content-Encoding. Bulk updates and creations also take NDJSON and CSV, and these as gzip.',
  },
  rate_limited: {
    status: 429,
    title: 'Too much in too short a time',
    description:
      'More of your work waits to be applied than may wait: `limit` items, or jobs that have not ended. Nothing of the request was taken.',
    remedy:
      'Send the same request again after the seconds in Retry-After, put more items into fewer jobs, or cancel jobs that are not needed.',
  },
  quota_exceeded: {
    status: 429,
    title: 'The quota is used up',
    description: 'The credits of the current period do not suffice for the whole request. Nothing of it was applied.',
    remedy: 'Wait for the next period, send less, or have the quota raised.',
  },
  malformed_body: {
    status: 400,
    title: 'The body cannot be read',
    description:
      'The body cannot be read as what it is sent as, or is not of the shape that the operation asks for. Nothing of it was applied.',
    remedy:
      'Mend the places named in `detail` and `errors`; each of these has a JSON pointer (RFC 6901) into the body.',
  },
  unknown_option: {
    status: 400,
    title: 'There is no such option or parameter',
    description: 'The request has an option or query parameter that does not exist. It is refused rather than ignored.',
    remedy: 'Correct or remove the one named in `detail`; the known ones are listed there.',
  },
  invalid_parameter: {
    status: 400,
    title: 'A parameter has a wrong value',
    description: 'A parameter of the path, the query or a header has a value that is not allowed there.',
    remedy: 'Mend the parameters named in `errors`.',
  },
  batch_empty: {
    status: 422,
    title: 'The batch has no items',
    description: 'The list of items is empty, so there is nothing to do.',
    remedy: 'Send at least one item, or leave the request out.',
  },
  batch_too_large: {
    status: 413,
    title: 'The batch is larger than allowed',
    description: 'The body, the number of items or one item passes a limit. Nothing was cut off and nothing applied.',
    remedy: 'Stay within `limit`: split the batch. All limits are at GET /api/v1/limits.',
  },
  atomic_batch_failed: {
    status: 422,
    title: 'An atomic batch had a failing item',
    description:
      'With `atomic`, one failing item means that none is applied. The results of all items are in the answer.',
    remedy: 'Mend the failed items and send the batch again, or leave `atomic` out.',
  },
  expected_count_mismatch: {
    status: 409,
    title: 'The selection does not have the expected size',
    description: '`where` selects another number of records than `expectedCount` says. Nothing was applied.',
    remedy: 'Look at what is selected now, then send the request with the number in `actual`.',
  },
  unknown_collection: {
    status: 404,
    title: 'There is no such collection',
    description: 'The collection named in the path or the body does not exist.',
    remedy: 'Use one of the collections that `detail` lists.',
  },
  unknown_operation: {
    status: 422,
    title: 'There is no such operation',
    description: 'The `operation` of the job does not exist.',
    remedy: 'Use one of the operations that `detail` lists, such as update_cases or update_orders_status.',
  },
  job_not_found: {
    status: 404,
    title: 'There is no such job',
    description: 'No job has this id, it belongs to another tenant, or its time to live has passed.',
    remedy: 'Check the id. Jobs are kept for seven days unless configured otherwise.',
  },
  job_conflict: {
    status: 409,
    title: 'The job is in no state for this',
    description: 'The state of the job does not allow what was asked: for example, to apply a job that is no dry run.',
    remedy: 'Read the job and decide again.',
  },
  idempotency_key_invalid: {
    status: 400,
    title: 'The Idempotency-Key is malformed',
    description: 'The header is empty, too long, or no structured-field string.',
    remedy: 'Send 1 to 255 printable characters in double quotes, for example Idempotency-Key: "7b6f2c".',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The Idempotency-Key belongs to another request',
    description: 'The key was used before with another payload. Nothing was applied.',
    remedy: 'Use a new key for a new request; use the old one only to repeat the very same request.',
  },
  idempotency_in_progress: {
    status: 409,
    title: 'The first request with this key still runs',
    description: 'A request with the same Idempotency-Key and payload has not finished yet.',
    remedy: 'Send it again after the seconds in Retry-After; it then gets the answer of the first.',
  },
  overloaded: {
    status: 503,
    title: 'The server has too much to do',
    description:
      'The request was refused before anything of it was applied, because too much work of all clients is waiting, or too many streams are being taken.',
    remedy: 'Send the same request again after the seconds in Retry-After.',
  },
  database_unavailable: {
    status: 503,
    title: 'The database is not available',
    description:
      'The database cannot be reached, or has no disk space or memory left. The server goes on by itself as soon as it is back.',
    remedy:
      'Send the same request again after the seconds in Retry-After. With an Idempotency-Key a write is applied once, whatever the first attempt did.',
  },
  not_found: {
    status: 404,
    title: 'There is no such record',
    description: 'No record of this tenant has this id.',
    remedy: 'Check the id. Other items of the same batch are not affected.',
  },
  validation_failed: {
    status: 422,
    title: 'A value is not valid',
    description: 'A field has a value that its collection does not allow.',
    remedy: 'Mend the field that is named.',
  },
  unknown_field: {
    status: 422,
    title: 'There is no such field',
    description: 'The item sets a field that its collection does not have. It is refused rather than ignored.',
    remedy: 'Correct or remove the field that is named; the known ones are listed in the message.',
  },
  invalid_transition: {
    status: 409,
    title: 'The lifecycle does not allow this change of status',
    description: 'The record cannot go from its present status to the one that was asked for.',
    remedy: 'Choose one of the statuses listed in the message, or take the steps in between.',
  },
  version_conflict: {
    status: 409,
    title: 'The record was changed in between',
    description:
      'The record does not have the version that the request expects. As an answer to If-Match the status is 412.',
    remedy: 'Read the record again, decide again, and send the change with the new version.',
  },
  constraint_violation: {
    status: 409,
    title: 'A rule of the database forbids this',
    description: 'The change violates a constraint of the table: a unique value, a reference or a check.',
    remedy: 'Mend the value that the message names.',
  },
  already_exists: {
    status: 409,
    title: 'A record with this id exists already',
    description: 'A new record was to have an id that is taken.',
    remedy: 'Choose another id, or update the existing record.',
  },
  deadline_exceeded: {
    status: 503,
    title: 'The time for the synchronous answer ran out',
    description: 'The time budget ended before this item was reached. It was not applied.',
    remedy: 'Send the unprocessed items again, or let large batches run as a job (`mode: "async"`).',
  },
  stopped: {
    status: 409,
    title: 'The batch stopped before this item',
    description:
      'Another item failed, and the batch was to stop then (`maxErrors` or `atomic`). This one was not applied.',
    remedy: 'Mend the failed items, then send these again.',
  },
  cancelled: {
    status: 409,
    title: 'The job was cancelled before this item',
    description: 'The job was cancelled before this item was reached. It was not applied.',
    remedy: 'Send the item again if it is still wanted.',
  },
  internal: {
    status: 500,
    title: 'Something went wrong inside the server',
    description: 'An error that is not yours. It is in the log of the server under the id of the request.',
    remedy: 'Try again; if it stays, report the id of the request (X-Request-Id).',
  },
};

export interface ProblemDetails {
  /** Another status than the table's, for a code that depends on how it was asked: `version_conflict` after If-Match is 412. */
  status?: number;
  headers?: Readonly<Record<string, string>>;
  limit?: number;
  actual?: number;
  errors?: readonly InputError[];
  /** Seconds; sent as Retry-After. */
  retryAfter?: number;
  /** Further members of the problem document. */
  extra?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

/** An answer other than success: thrown anywhere in a request, it becomes its problem document (RFC 9457). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ProblemCode;
  readonly details: ProblemDetails;

  constructor(code: ProblemCode, detail: string, details: ProblemDetails = {}) {
    super(detail, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }
}
