import { sql } from '@docket/engine';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
let idle: Served;

beforeAll(async () => {
  // why two: on a server without workers, jobs stay as they are for as long as a test needs
  [served, idle] = await Promise.all([serve(), serve({ withoutWorkers: true })]);
});
afterAll(() => Promise.all([served?.stop(), idle?.stop()]));

const names = (links: object) => Object.keys(links).slice(5);

describe('a job that has not begun', () => {
  let job: string;
  beforeEach(async () => {
    const items = [
      { id: 'A-1', fields: { title: 'one' }, ref: 'line 1' },
      { id: 'A-2', fields: { title: 'two' } },
    ];
    const { body } = await idle.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });
    job = body.links.self;
    expect(names(body.links)).toEqual(['cancel', 'pause']);
  });

  it('is paused and resumed, any number of times', async () => {
    for (const round of [1, 2]) {
      const { status, body, headers } = await idle.call('POST', `${job}/pause`);
      expect([status, body.status, names(body.links)], `${round}`).toEqual([200, 'paused', ['cancel', 'resume']]);
      expect(headers.get('retry-after')).toBe('1');
    }
    for (const round of [1, 2]) {
      const { status, body } = await idle.call('POST', `${job}/resume`);
      expect([status, body.status, names(body.links)], `${round}`).toEqual([200, 'pending', ['cancel', 'pause']]);
    }
  });

  it('is cancelled: every item has a result that says so, in every form', async () => {
    const cancelled = await idle.call('POST', `${job}/cancel`);
    expect(cancelled).toMatchObject({
      status: 200,
      body: {
        status: 'cancelled',
        cancelRequested: true,
        outcome: 'all_failed',
        summary: { total: 2, succeeded: 0, failed: 0, notProcessed: 2 },
      },
    });
    expect(names(cancelled.body.links)).toEqual(['retry']);
    expect((await idle.call('POST', `${job}/cancel`)).body).toEqual(cancelled.body);
    const expected = [
      { index: 0, id: 'A-1', caseId: 'A-1', ref: 'line 1', status: 'not_processed', error: { code: 'cancelled' } },
      { index: 1, id: 'A-2', caseId: 'A-2', status: 'not_processed', error: { code: 'cancelled' }, retryable: true },
    ];
    for (const query of ['', '?status=not_processed']) {
      expect((await idle.call('GET', `${job}/results${query}`)).body.items).toMatchObject(expected);
    }
    expect((await idle.call('GET', `${job}/results?status=succeeded`)).body.items).toEqual([]);
    const lines = await idle.call('GET', `${job}/results`, undefined, { accept: 'application/x-ndjson' });
    expect(
      lines.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toMatchObject(expected);
    const csv = await idle.call('GET', `${job}/results.csv?status=not_processed`);
    expect(parse(csv.text, { columns: true })).toMatchObject([
      { caseId: 'A-1', title: 'one', ref: 'line 1', result_status: 'not_processed', result_code: 'cancelled' },
      { caseId: 'A-2', title: 'two', result_index: '1' },
    ]);
  });

  it.each(['retry', 'revert', 'apply'])('cannot be followed by %s', async (action) => {
    const { status, body } = await idle.call('POST', `${job}/${action}`);
    expect([status, body.code]).toEqual([409, 'job_conflict']);
    expect(body.detail).toContain('pending');
  });

  it('cannot be deleted until it has ended', async () => {
    expect((await idle.call('DELETE', job)).body).toMatchObject({ status: 409, code: 'job_conflict' });
    await idle.call('POST', `${job}/cancel`);
    expect((await idle.call('DELETE', job)).status).toBe(204);
    for (const [method, path] of [
      ['DELETE', ''],
      ['GET', ''],
      ['GET', '/results'],
    ] as const) {
      expect((await idle.call(method, job + path)).body).toMatchObject({ status: 404, code: 'job_not_found' });
    }
  });
});

describe('a job that has ended', () => {
  let job: string;
  beforeEach(async () => {
    const id = `B-${crypto.randomUUID()}`;
    await createCases(served, [id]);
    const items = [
      { id, fields: { status: 'Cancelled' } },
      { id: `${id}-late`, fields: { title: 'late' } },
    ];
    const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items });
    job = body.links.self;
    expect(names(body.links)).toEqual(['retry', 'revert']);
  });

  it.each(['cancel', 'pause', 'resume'])('answers %s with a conflict that says why', async (action) => {
    const { status, body } = await served.call('POST', `${job}/${action}`);
    expect([status, body.code]).toEqual([409, 'job_conflict']);
    expect(body.detail).toContain('has ended (completed)');
  });

  it('is retried after mending', async () => {
    const { body: failed } = await served.call('GET', `${job}/results?status=failed`);
    expect((await served.call('POST', `${job}/retry`, { only: 'retryable' })).body.code).toBe('job_conflict');
    await createCases(served, [failed.items[0].id]);
    const retry = await served.call('POST', `${job}/retry`, { only: 'failed' });
    expect(retry.status).toBe(202);
    expect(retry.headers.get('location')).toBe(retry.body.links.self);
    expect(retry.headers.get('retry-after')).toBe('1');
    expect(retry.body).toMatchObject({ operation: 'retry', parentJobId: job.split('/').at(-1), queued: 1 });
    const waited = await served.call('POST', `${job}/retry`, undefined, { prefer: 'wait=20' });
    expect(waited.status).toBe(200);
    expect(waited.headers.get('preference-applied')).toBe('wait=20');
    expect(waited.headers.get('location')).toBe(retry.body.links.self);
    expect(waited.body).toMatchObject({ jobId: retry.body.jobId, status: 'completed', outcome: 'all_succeeded' });
    expect(names(waited.body.links)).toEqual(['revert']);
  });

  it('is reverted, out of a final status, and that again', async () => {
    const { body: done } = await served.call('GET', `${job}/results?status=succeeded`);
    const status = async () => (await served.call('GET', `/api/v1/cases/${done.items[0].id}`)).body.status;
    const revert = await served.call('POST', `${job}/revert`, undefined, { prefer: 'wait=20' });
    expect(revert.body).toMatchObject({ operation: 'revert', status: 'completed', outcome: 'all_succeeded' });
    expect(await status()).toBe('In Progress');
    const again = await served.call('POST', revert.body.links.revert, undefined, { prefer: 'wait=20' });
    expect(again.body.status).toBe('completed');
    expect(await status()).toBe('Cancelled');
    expect((await served.call('POST', `${job}/revert`)).body.jobId).toBe(revert.body.jobId);
  });

  it.each([[[]], [{ only: 'all' }], [{ onyl: 'failed' }], ['{']])('refuses to retry %j', async (body) => {
    expect((await served.call('POST', `${job}/retry`, body)).body).toMatchObject({
      status: 400,
      code: 'malformed_body',
    });
  });

  it('is not there for another tenant', async () => {
    const authorization = `Bearer ${await served.keyOf('other')}`;
    for (const action of ['cancel', 'pause', 'resume', 'retry', 'revert', 'apply']) {
      const { body } = await served.call('POST', `${job}/${action}`, undefined, { authorization });
      expect(body.code, action).toBe('job_not_found');
    }
    expect((await served.call('DELETE', job, undefined, { authorization })).status).toBe(404);
    expect((await served.call('DELETE', job)).status).toBe(204);
  });
});

it('does not offer to undo what cannot be undone', async () => {
  const created = await served.call('POST', '/api/v1/cases/bulk-create', { items: [{ caseId: 'C-1', title: 'x' }] });
  expect(names(created.body.links)).toEqual([]);
  expect((await served.call('POST', `${created.body.links.self}/revert`)).body.code).toBe('job_conflict');
  const updates = { items: [{ id: 'C-1', fields: { title: 'y' } }], options: { dryRun: true } };
  const preview = await served.call('POST', '/api/v1/cases/bulk-update', updates);
  expect(names(preview.body.links)).toEqual(['apply']);
  expect((await served.call('POST', `${preview.body.links.self}/revert`)).body.code).toBe('job_conflict');
});

it('cancels a large job while it runs: the answer is its end, and a retry does the rest', async () => {
  const ids = Array.from({ length: 5000 }, (_, n) => `L-${n}`);
  await createCases(served, ids);
  const items = ids.map((id) => ({ id, fields: { assignee: 'kim' } }));
  // why: the chunks in flight wait for these records, and the others for them
  const cancelled = await served.engine.pool.transaction(async (tx) => {
    await tx.query(sql`select 1 from cases where case_id in ('L-0', 'L-1000', 'L-2000') for update`);
    const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });
    const answer = served.call('POST', body.links.cancel);
    await waitUntil(
      async () => (await served.call('GET', body.links.self)).body.cancelRequested,
      'the job is being cancelled',
    );
    return { answer };
  });
  const { body } = await cancelled.answer;
  expect(body.status).toBe('cancelled');
  const { succeeded, notProcessed } = body.summary;
  expect(succeeded + notProcessed).toBe(5000);
  expect(notProcessed).toBeGreaterThanOrEqual(2000);
  const retry = await served.call('POST', body.links.retry, undefined, { prefer: 'wait=30' });
  expect(retry.body).toMatchObject({ status: 'completed', summary: { total: notProcessed, succeeded: notProcessed } });
});
