import { DocketError, NetworkError, TimeoutError } from '@docket/client';
import { exitCodes } from './exit-codes.ts';
import { paint, textOf, writeError } from './output.ts';

/** Something that the caller can mend, in words that say how. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** The caller stopped following; `message` says what goes on without them. */
export class Left extends Error {
  override readonly name = 'Left';
}

/** Tells why a command did not do what it was asked for, in a line, and gives back the exit code. Causes only if `verbose`. */
export function reportFailure(error: unknown, { json, verbose }: { json: boolean; verbose: boolean }): number {
  if (error instanceof Left) {
    writeError(`${error.message}\n`);
    return exitCodes.left;
  }
  const failure = describe(error);
  if (json) writeError(`${JSON.stringify({ error: failure })}\n`);
  else writeError(inWords(failure));
  if (verbose && error instanceof Error) writeError(`${stackOf(error)}\n`);
  return exitCodes.error;
}

interface Failure {
  code: string;
  message: string;
  requestId?: string;
  /** Where its code is explained. */
  help?: string;
  errors?: readonly { pointer: string; message: string }[];
}

function describe(error: unknown): Failure {
  if (!(error instanceof DocketError)) {
    return { code: 'error', message: error instanceof Error ? error.message : String(error) };
  }
  const { code, detail, requestId, errors, problem } = error;
  return {
    code,
    message: textOf(detail) + hintOf(error),
    ...(requestId === null ? {} : { requestId }),
    ...(problem.type === undefined ? {} : { help: problem.type }),
    ...(errors.length === 0 ? {} : { errors }),
  };
}

/** What to do where the server could not say it. */
function hintOf(error: DocketError): string {
  if (error instanceof NetworkError || error instanceof TimeoutError) {
    return ' Is the server running there? DOCKET_URL or --url says where it is; `docket doctor` looks closer.';
  }
  if (error.code === 'unauthenticated') return ' Set DOCKET_API_KEY; `docket keys create` makes a key.';
  return '';
}

function inWords({ code, message, requestId, help, errors = [] }: Failure): string {
  const about = [
    ...(code === 'error' ? [] : [code]),
    ...(requestId === undefined ? [] : [`request ${requestId}`]),
    ...(help === undefined ? [] : [help]),
  ];
  const first = `${paint('red', 'error:', 'stderr')} ${message}${about.length > 0 ? ` (${about.join(', ')})` : ''}\n`;
  // why: a single one is what the message says already
  return (
    first +
    (errors.length > 1 ? errors.map((one) => `  ${textOf(one.pointer)}: ${textOf(one.message)}\n`).join('') : '')
  );
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack}${cause}`;
}
