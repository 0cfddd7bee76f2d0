import { EventSource } from 'eventsource';
import { afterAll, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { holdLocks, waitUntil } from '../../engine/test/wait-until.ts';
import { createCases } from './served.ts';
import { adminKey, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
let database: Awaited<ReturnType<typeof createDatabase>> | undefined;
afterAll(async () => {
  try {
    await processes.clear();
  } finally {
    await database?.drop();
  }
}, 60_000);

it('a public EventSource follows a job over a crash of the server, and is told of everything once', async () => {
  database = await createDatabase();
  const env = { DATABASE_URL: database.url, DOCKET_ADMIN_KEY: adminKey };
  const first = await processes.start(env);
  const ids = Array.from({ length: 2_500 }, (_, at) => `CASE-${at}`);
  await createCases(first, ids);
  const letGo = await holdLocks(
    processes.sql(database.url),
    "select from docket.cases where case_id = 'CASE-2400' for update",
  );
  const items = [...ids.slice(0, 2_400), 'GONE-1', ...ids.slice(2_400), 'GONE-2'].map((id) => ({
    id,
    fields: { assignee: 'kim' },
  }));
  items.splice(10, 0, { id: 'GONE-0', fields: { assignee: 'kim' } });
  const { body } = await first.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });

  const failed: number[] = [];
  const ends: string[] = [];
  let opened = 0;
  let processed = 0;
  const statuses: number[] = [];
  const source = new EventSource(`${first.url}/api/v1/jobs/${body.jobId}/events`, {
    fetch: async (input, init) => {
      const headers = { ...init.headers, authorization: `Bearer ${adminKey}` };
      const response = await fetch(input, { ...init, headers });
      statuses.push(response.status);
      return response;
    },
  });
  try {
    source.addEventListener('open', () => {
      opened += 1;
    });
    source.addEventListener('progress', ({ data }) => {
      processed = JSON.parse(data).progress.processed;
    });
    source.addEventListener('failure', ({ data }) => failed.push(JSON.parse(data).index));
    source.addEventListener('end', ({ data }) => ends.push(JSON.parse(data).outcome));
    await waitUntil(() => failed.length === 1 && processed === 2_000, 'what is applied is told');
    await first.kill();
    await processes.start({ ...env, PORT: new URL(first.url).port });
    await waitUntil(() => opened === 2, 'it is followed again', 30_000);
    await letGo();
    await waitUntil(() => ends.length === 1, 'the end is told', 30_000);
    expect(failed).toEqual([10, 2_401, 2_502]);
    expect(ends).toEqual(['some_failed']);
    await waitUntil(() => source.readyState === EventSource.CLOSED, 'it is over', 30_000);
    expect(statuses.at(-1)).toBe(204);
  } finally {
    source.close();
  }
}, 90_000);
