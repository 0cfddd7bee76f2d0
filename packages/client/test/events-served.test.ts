import type { JobState } from '@docket/client';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { holdLocks, waitUntil } from '../../engine/test/wait-until.ts';
import { createCases } from '../../server/test/served.ts';
import { type ServedDocket, serveDocket } from './served-docket.ts';

/* The event stream of a real server, as the client follows it. */

let served: ServedDocket;
let sql: pg.Pool;
const ids = Array.from({ length: 1_500 }, (_, at) => `E-${at}`);

beforeAll(async () => {
  served = await serveDocket({ workers: 2 });
  sql = new pg.Pool({ connectionString: served.databaseUrl });
  await createCases(served, ids);
});
afterAll(async () => {
  await sql?.end();
  await served?.stop();
});

let round = 0;
/** A job of which a third waits until the lock is let go of. */
async function heldJob() {
  const letGo = await holdLocks(sql, "select from docket.cases where case_id = 'E-1400' for update");
  round += 1;
  const updates = ids.map((caseId) => ({ caseId, assignee: `somebody ${round}` }));
  const handle = await served.docket.cases.bulkUpdate(updates, { mode: 'async' });
  return { handle, letGo };
}

it('tells done() of progress while the job runs, and of its end, in one request', async () => {
  const { handle, letGo } = await heldJob();
  served.asked.length = 0;
  const states: JobState[] = [];
  const done = handle.done({ onProgress: (state) => states.push(state) });
  await waitUntil(() => states.some(({ progress }) => progress.processed === 1_000), 'progress is told');
  expect(states.map(({ status }) => status)).not.toContain('completed');
  await letGo();
  await expect(done).resolves.toMatchObject({ outcome: 'all_succeeded', summary: { total: 1_500, succeeded: 1_500 } });
  expect(states.at(-1)).toMatchObject({ status: 'completed', progress: { processed: 1_500 } });
  expect(served.asked).toEqual([`GET /jobs/${handle.jobId}/events`]);
});

it('is resumed behind the last event when it is cut', async () => {
  const { handle, letGo } = await heldJob();
  const streams: (string | null)[] = [];
  const cut = new AbortController();
  const docket = served.client({
    fetch: async (input, init) => {
      const lastEventId = new Headers(init?.headers).get('last-event-id');
      streams.push(lastEventId);
      const response = await fetch(input, init);
      if (streams.length > 1) return response;
      const cutter = new TransformStream<Uint8Array, Uint8Array>();
      response.body?.pipeTo(cutter.writable, { signal: cut.signal }).catch(() => {});
      return new Response(cutter.readable, response);
    },
  });
  const states: JobState[] = [];
  const done = docket.jobs.done(handle.jobId, { onProgress: (state) => states.push(state) });
  await waitUntil(() => states.some(({ progress }) => progress.processed === 1_000), 'progress is told');
  cut.abort(new TypeError('the connection was cut'));
  await waitUntil(() => streams.length === 2, 'the stream is asked for again');
  await letGo();
  await expect(done).resolves.toMatchObject({ outcome: 'all_succeeded' });
  expect(streams).toEqual([null, expect.stringMatching(/^c/)]);
});

it('of a job that has ended tells the end at once', async () => {
  const { handle, letGo } = await heldJob();
  await letGo();
  await handle.done();
  served.asked.length = 0;
  await expect(served.docket.jobs.done(handle.jobId)).resolves.toMatchObject({ outcome: 'all_succeeded' });
  expect(served.asked).toEqual([`GET /jobs/${handle.jobId}/events`]);
});
