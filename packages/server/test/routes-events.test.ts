import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
let sql: pg.Pool;
beforeAll(async () => {
  served = await serve({ workers: 2 });
  sql = new pg.Pool({ connectionString: served.databaseUrl });
});
afterAll(async () => {
  await sql?.end();
  await served?.stop();
});
beforeEach(async () => {
  await sql.query('delete from docket.cases');
});

interface Told {
  id: string;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  data: any;
}

interface Stream {
  status: number;
  headers: Headers;
  told: Told[];
  /** Until the server has ended the stream. */
  ended: Promise<void>;
  leave(): void;
}

async function follow(jobId: string, lastEventId?: string, key = served.authorization): Promise<Stream> {
  const leaving = new AbortController();
  const response = await fetch(`${served.base}/api/v1/jobs/${jobId}/events`, {
    headers: { authorization: key, ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) },
    signal: leaving.signal,
  });
  const told: Told[] = [];
  const read = async () => {
    let text = '';
    for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece;
      const blocks = text.split('\n\n');
      text = blocks.pop() as string;
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
        if (field('event')) {
          told.push({
            id: field('id') as string,
            event: field('event') as string,
            data: JSON.parse(field('data') as string),
          });
        }
      }
    }
  };
  const ended = read().catch(() => undefined);
  return { status: response.status, headers: response.headers, told, ended, leave: () => leaving.abort() };
}

async function submit(items: object[], options: object = {}): Promise<string> {
  const { body, status } = await served.call('POST', '/api/v1/cases/bulk-update', {
    items,
    options: { mode: 'async', ...options },
  } as never);
  if (status !== 202) throw new Error(JSON.stringify(body));
  return body.jobId;
}
const ids = (count: number) => Array.from({ length: count }, (_, index) => `CASE-${index}`);
const item = (id: string) => ({ id, fields: { status: 'Under Review' } });
const kinds = (told: Told[]) => told.map(({ event }) => event);
const failures = (told: Told[]) => told.filter(({ event }) => event === 'failure').map(({ data }) => data.index);

/** Every item of the chunks behind the first waits until the lock on its case is let go of. */
async function hold(caseId: string): Promise<() => Promise<void>> {
  const holder = await sql.connect();
  await holder.query('begin');
  await holder.query('select 1 from docket.cases where case_id = $1 for update', [caseId]);
  letGo = async () => {
    letGo = async () => {};
    await holder.query('rollback');
    holder.release();
  };
  return () => letGo();
}
let letGo = async () => {};
afterEach(() => letGo());

describe('GET /jobs/{id}/events', () => {
  test('tells progress at once, failures as they happen, and the end', async () => {
    await createCases(served, ids(2_500));
    const release = await hold('CASE-2400');
    const items = [...ids(999).map(item), item('GONE-1'), ...ids(2_500).slice(1_000).map(item), item('GONE-2')];
    const jobId = await submit(items);
    const stream = await follow(jobId);
    expect(stream.status).toBe(200);
    expect(stream.headers.get('content-type')).toBe('text/event-stream');
    await waitUntil(async () => failures(stream.told).length === 1, 'the first failure is told while the job runs');
    await waitUntil(
      async () => stream.told.at(-1)?.event === 'progress' && stream.told.at(-1)?.data.progress.processed === 2_000,
      'progress is told',
    );
    expect(stream.told[0]).toMatchObject({ event: 'progress', data: { jobId, summary: { total: 2_501 } } });
    expect(stream.told.find(({ event }) => event === 'failure')?.data).toMatchObject({
      index: 999,
      id: 'GONE-1',
      caseId: 'GONE-1',
      status: 'failed',
      error: { code: 'not_found' },
    });
    await release();
    await stream.ended;
    expect(failures(stream.told)).toEqual([999, 2_500]);
    expect(stream.told.at(-1)).toMatchObject({
      id: 'end',
      event: 'end',
      data: { jobId, status: 'completed', outcome: 'some_failed', completedAt: expect.any(String) },
    });
  });

  test('of a job that has ended tells its failures and its end, then 204', async () => {
    const jobId = await submit([item('GONE-1'), item('GONE-2')]);
    await served.engine.waitForJob('default', jobId, 10_000);
    const stream = await follow(jobId);
    await stream.ended;
    expect(kinds(stream.told)).toEqual(['failure', 'failure', 'end']);
    const again = await follow(jobId, 'end');
    expect(again.status).toBe(204);
  });

  test('resumes behind any event, so that each failure is told once', async () => {
    await createCases(served, ids(1_200));
    const items = [
      ...ids(600).map(item),
      ...ids(600).map((id) => item(`GONE-${id}`)),
      ...ids(1_200).slice(600).map(item),
    ];
    const jobId = await submit([...items, item('GONE-last')]);
    await served.engine.waitForJob('default', jobId, 10_000);
    const whole = await follow(jobId);
    await whole.ended;
    const all = failures(whole.told);
    expect(all).toHaveLength(601);
    for (const place of [0, 1, 398, 399, 400, 599, 600]) {
      const rest = await follow(jobId, whole.told[place]?.id);
      await rest.ended;
      expect(failures(rest.told)).toEqual(all.slice(place + 1));
      expect(rest.told.at(-1)?.event).toBe('end');
    }
  });

  test('tells of pause, resume and cancel', async () => {
    await createCases(served, ids(1_500));
    const release = await hold('CASE-1200');
    const jobId = await submit(ids(1_500).map(item));
    const stream = await follow(jobId);
    const tells = (status: string) =>
      waitUntil(async () => stream.told.some(({ data }) => data.status === status), `${status} is told`);
    await served.call('POST', `/api/v1/jobs/${jobId}/pause`);
    await tells('paused');
    await served.call('POST', `/api/v1/jobs/${jobId}/resume`);
    await waitUntil(async () => stream.told.at(-1)?.data.status !== 'paused', 'resume is told');
    const cancelling = served.call('POST', `/api/v1/jobs/${jobId}/cancel`);
    await release();
    await cancelling;
    await stream.ended;
    expect(stream.told.at(-1)?.event).toBe('end');
  });

  test('is of the tenant alone, and refuses a damaged id', async () => {
    const jobId = await submit([item('GONE-1')]);
    const stranger = await follow(jobId, undefined, `Bearer ${await served.keyOf('stranger')}`);
    expect(stranger.status).toBe(404);
    for (const damaged of ['c0-', 'x', 'c1_2', `c${'1.3.'.repeat(9_000)}`.slice(0, 12_000)]) {
      expect((await follow(jobId, damaged)).status).toBe(400);
    }
    expect((await follow('job_00000000000070008000000000000000')).status).toBe(404);
  });

  test('costs no query for each of those who follow', async () => {
    await createCases(served, ids(1_500));
    const release = await hold('CASE-1200');
    const jobId = await submit([...ids(1_500).map(item), item('GONE-1')]);
    const streams = await Promise.all(Array.from({ length: 1_000 }, () => follow(jobId)));
    await waitUntil(async () => streams.every(({ told }) => told.length > 0), 'all follow');
    const before = await queries();
    await release();
    await Promise.all(streams.map(({ ended }) => ended));
    expect((await queries()) - before).toBeLessThan(150);
    for (const { told } of streams) expect(failures(told)).toEqual([1_500]);

    async function queries(): Promise<number> {
      await sql.query('select pg_stat_force_next_flush()');
      const { rows } = await sql.query(`select xact_commit from pg_stat_database where datname = current_database()`);
      return Number(rows[0].xact_commit);
    }
  });

  test('tells of progress every 250 ms at most, and the last of it surely', async () => {
    await createCases(served, ids(1_500));
    const release = await hold('CASE-1200');
    const jobId = await submit(ids(1_500).map(item));
    const stream = await follow(jobId);
    const begun = performance.now();
    const last = () => stream.told.at(-1)?.data.summary.succeeded;
    await waitUntil(async () => last() === 1_000, 'the first chunk is told');
    for (let succeeded = 1_001; succeeded <= 1_200; succeeded++) {
      const summary = { total: 1_500, succeeded, failed: 0, notProcessed: 0 };
      const notice = { jobId, status: 'running', cancelRequested: false, summary, startedAt: new Date().toISOString() };
      await sql.query("select pg_notify('docket_job_progress', $1)", [JSON.stringify(notice)]);
    }
    await waitUntil(async () => last() === 1_200, 'the last notice is told');
    expect(stream.told.length).toBeLessThanOrEqual(2 + (performance.now() - begun) / 250);
    await release();
    await stream.ended;
  });

  test('a client that goes leaves nothing behind', async () => {
    await createCases(served, ids(1));
    const release = await hold('CASE-0');
    const jobId = await submit([item('CASE-0')]);
    const stream = await follow(jobId);
    await waitUntil(async () => stream.told.length === 1, 'it is told of the job');
    stream.leave();
    await stream.ended;
    await release();
    const later = await follow(jobId);
    await later.ended;
    expect(later.told.at(-1)?.event).toBe('end');
  });
});
