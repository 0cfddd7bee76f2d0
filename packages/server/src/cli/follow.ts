import { DocketError, type JobEnd, type JobHandle } from '@docket/client';
import { Left } from './failure.ts';
import { createProgress, stepOf } from './progress.ts';
import { isInteractive, type Session } from './session.ts';

/**
 * Waits for a job's end and shows how far it is. Ctrl-C asks whether to go on, to leave the job running or to cancel it; a second
 * one, or one that nobody can be asked about, throws Left and leaves the job alone.
 */
export async function follow<Row>({ docket }: Session, handle: JobHandle<Row>, what: string): Promise<JobEnd> {
  if (handle.end) return handle.end;
  const { jobId } = handle;
  const progress = createProgress();
  const leaving = new AbortController();
  const ended = new AbortController();
  const leave = () => leaving.abort(new Left(`${jobId} goes on. Follow it: docket jobs watch ${jobId}`));
  let asking = false;
  const onInterrupt = async () => {
    if (asking || !isInteractive()) return leave();
    asking = true;
    progress.pause();
    const choice = await askWhatNow(jobId, ended.signal);
    if (choice === 'leave') leave();
    if (choice === 'cancel') await docket.jobs.cancel(jobId).catch(unlessOver).catch(leaving.abort.bind(leaving));
    asking = false;
    if (!ended.signal.aborted) progress.resume();
  };
  const interrupted = () => void onInterrupt();
  process.on('SIGINT', interrupted);
  try {
    return await handle.done({
      timeoutMs: Number.POSITIVE_INFINITY,
      signal: leaving.signal,
      onProgress: (state) => progress.show(stepOf(what, state)),
    });
  } finally {
    ended.abort();
    progress.stop();
    process.off('SIGINT', interrupted);
  }
}

type Choice = 'go on' | 'leave' | 'cancel';

/** Ctrl-C at the question leaves; the end of the job answers it. */
async function askWhatNow(jobId: string, signal: AbortSignal): Promise<Choice> {
  const { default: select } = await import('@inquirer/select');
  const choices: { name: string; value: Choice }[] = [
    { name: 'Go on following', value: 'go on' },
    { name: 'Leave it running', value: 'leave' },
    { name: 'Cancel it: what is applied stays, the rest is not', value: 'cancel' },
  ];
  try {
    return await select({ message: `${jobId} is running. What now?`, choices }, { signal, output: process.stderr });
  } catch {
    return signal.aborted ? 'go on' : 'leave';
  }
}

/** Nothing is left to cancel when the job has just ended. */
function unlessOver(error: unknown): void {
  if (!(error instanceof DocketError && error.code === 'job_conflict')) throw error;
}
