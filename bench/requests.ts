import { Readable } from 'node:stream';
import type { Caller } from './environment.ts';

/** Statuses among which every case of the benches may move. */
export const statuses = ['Under Review', 'On Hold', 'In Progress'] as const;

export function statusOf(series: number): string {
  return statuses[series % statuses.length] as string;
}

export async function send(caller: Caller, path: string, body: unknown): Promise<Record<string, unknown>> {
  const headers = { ...caller.headers, 'content-type': 'application/json' };
  const response = await fetch(caller.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${path} was answered with ${response.status}: ${JSON.stringify(answer)}`);
  return answer;
}

export function updates(ids: readonly string[], status: string, options: object) {
  return { updates: ids.map((caseId) => ({ caseId, status })), options };
}

/** The lines of an upload, made before the time is taken. */
export function ndjson(ids: readonly string[], status: string): Buffer[] {
  const pieces: Buffer[] = [];
  for (let from = 0; from < ids.length; from += 1_000) {
    const lines = ids.slice(from, from + 1_000).map((id) => `{"caseId":"${id}","status":"${status}"}\n`);
    pieces.push(Buffer.from(lines.join('')));
  }
  return pieces;
}

/** Sends a stream of lines. Gives back the job that it became. */
export async function upload(caller: Caller, pieces: readonly Buffer[], query = ''): Promise<string> {
  const response = await fetch(`${caller.url}/api/v1/cases/bulk-update${query}`, {
    method: 'POST',
    headers: { ...caller.headers, 'content-type': 'application/x-ndjson' },
    body: Readable.toWeb(Readable.from(pieces)) as ReadableStream,
    duplex: 'half',
  } as RequestInit);
  const { jobId } = (await response.json()) as { jobId?: string };
  if (response.status !== 202 || !jobId) throw new Error(`The upload was answered with ${response.status}.`);
  return jobId;
}

/** Waits until every item of a job has succeeded. */
export async function endOf(caller: Caller, jobId: string): Promise<void> {
  for (;;) {
    const response = await fetch(`${caller.url}/api/v1/jobs/${jobId}/status?wait=60`, { headers: caller.headers });
    const job = (await response.json()) as { outcome: string | null };
    if (job.outcome === 'all_succeeded') return;
    if (job.outcome) throw new Error(`Job ${jobId} ended with ${job.outcome}.`);
  }
}
