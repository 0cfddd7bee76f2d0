import type { Summary } from '@docket/client';

/** What the process ends with. */
export const exitCodes = {
  /** Everything asked for was done. */
  ok: 0,
  /** It could not be done, or was refused. */
  error: 1,
  /** The job ended, and some of its items were not applied. */
  someFailed: 2,
  /** Left with Ctrl-C; what was begun may go on. */
  left: 130,
} as const;

/** Of a job that has ended. */
export function exitCodeOf({ status, summary }: { status: string; summary: Summary }): number {
  if (status === 'failed') return exitCodes.error;
  return summary.succeeded === summary.total ? exitCodes.ok : exitCodes.someFailed;
}
