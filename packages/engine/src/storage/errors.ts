import { RequestError } from '../domain/codes.ts';
import { damagedCursor } from '../domain/cursor.ts';

export type FailureKind =
  /** The database cannot be reached, or went away: nothing is known of the statement's effect. */
  | 'connection'
  /** The transaction lost against another one; the same again may succeed. */
  | 'conflict'
  /** A lock or an answer did not come within the time allowed. */
  | 'timeout'
  /** The server has run out of disk space, memory or the like: nothing was done, and the same again may succeed later. */
  | 'exhausted'
  /** The data breaks a constraint, or a type, of the table. */
  | 'data'
  | 'other';

const connectionCodes = new Set([
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '57P05',
  // idle in a transaction for too long: the network, or this process, stood still
  '25P03',
  // read-only: after a failover this is no longer the primary
  '25006',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ECONNABORTED',
]);

/** What a failure of the database means for what to do next. */
export function failureKind(error: unknown): FailureKind {
  const code = codeOf(error);
  if (code === undefined) return isDriverConnectionLoss(error) ? 'connection' : 'other';
  if (connectionCodes.has(code) || code.startsWith('08')) return 'connection';
  if (code === '40001' || code === '40P01') return 'conflict';
  if (code === '55P03' || code === '57014') return 'timeout';
  if (code.startsWith('53') || code === '58030') return 'exhausted';
  if (code.startsWith('22') || code.startsWith('23')) return 'data';
  return 'other';
}

const unavailable: { [kind in FailureKind]?: string } = {
  connection: 'The database cannot be reached at the moment. Try again shortly.',
  exhausted: 'The database has no room or memory left at the moment; nothing was done. Try again later.',
};

/** The request error that a database becomes which is lost, or full; any other error is given back as it is. */
export function asRequestError(error: unknown): unknown {
  const detail = unavailable[failureKind(error)];
  return detail ? new RequestError('database_unavailable', detail, { retryAfter: 2, cause: error }) : error;
}

/** Reads a page; a position that does not fit its columns comes from no cursor of its list. */
export async function refusingDamagedCursor<Value>(cursor: string | undefined, list: Promise<Value>): Promise<Value> {
  try {
    return await list;
  } catch (error) {
    throw cursor !== undefined && failureKind(error) === 'data' ? damagedCursor() : error;
  }
}

/** The constraint and column that a data failure names. Its message and detail may hold values of rows: never shown. */
export function violatedConstraint(error: unknown): {
  table?: string;
  constraint?: string;
  column?: string;
  code: string;
} {
  const { table, constraint, column, code } = error as Record<string, string | undefined>;
  return {
    code: code ?? '',
    ...(table === undefined ? {} : { table }),
    ...(constraint === undefined ? {} : { constraint }),
    ...(column === undefined ? {} : { column }),
  };
}

function codeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

// why: the driver reports a lost connection as a plain Error without a code
function isDriverConnectionLoss(error: unknown): boolean {
  const message = error instanceof Error ? error.message : '';
  return /^Connection terminated|connection timeout|timeout expired|Query read timeout|timeout exceeded when trying to connect|not queryable|^Client was closed/i.test(
    message,
  );
}
