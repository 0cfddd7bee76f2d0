import { connect } from 'node:net';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
let jobId: string;

const call: Served['call'] = (...args) => served.call(...args);

beforeAll(async () => {
  served = await serve();
  await createCases(served, ['J-1', 'J-2', 'J-3', '=J-4']);
  const { body } = await call('POST', '/api/v1/cases/bulk-update', {
    items: [
      { id: 'J-1', fields: { title: '=HYPERLINK("x")', data: { a: [1, 'b'] } }, ref: '+line 1' },
      { id: 'none', fields: { assignee: null } },
      { id: 'J-2', fields: { title: 'comma, "quote"\nline', colour: 'red' } },
      { id: 'J-3', fields: { status: 'Under Review' } },
      { id: '=J-4', fields: { title: 'grüße' } },
    ],
    options: { mode: 'async', label: 'my label', priority: 'high' },
  });
  jobId = body.jobId;
  await call('GET', `/api/v1/jobs/${jobId}/status?wait=30`);
});
afterAll(() => served?.stop());

describe('one job', () => {
  it('tells all there is to know', async () => {
    const { status, body, headers } = await call('GET', `/api/v1/jobs/${jobId}`);
    const self = `/api/v1/jobs/${jobId}`;
    expect(status).toBe(200);
    expect(body).toEqual({
      jobId,
      collection: 'cases',
      operation: 'update',
      operationName: null,
      status: 'completed',
      cancelRequested: false,
      outcome: 'some_failed',
      summary: { total: 5, succeeded: 3, failed: 2, notProcessed: 0 },
      progress: { processed: 5, total: 5, itemsPerSecond: expect.any(Number), etaSeconds: 0 },
      label: 'my label',
      priority: 'high',
      dryRun: false,
      atomic: false,
      createdAt: expect.any(String),
      startedAt: expect.any(String),
      completedAt: expect.any(String),
      expiresAt: expect.any(String),
      parentJobId: null,
      links: {
        self,
        status: `${self}/status`,
        results: `${self}/results`,
        resultsCsv: `${self}/results.csv`,
        events: `${self}/events`,
        retry: `${self}/retry`,
        revert: `${self}/revert`,
      },
    });
    expect(headers.get('retry-after')).toBeNull();
    expect(Math.round((Date.parse(body.expiresAt) - Date.parse(body.completedAt)) / 1000)).toBe(7 * 24 * 3600);
    const short = await call('GET', `${self}/status`);
    expect(Object.keys(short.body)).toEqual(['jobId', 'status', 'outcome', 'summary', 'progress', 'links']);
  });

  it('has links that lead somewhere', async () => {
    const { body } = await call('GET', `/api/v1/jobs/${jobId}`);
    const { retry, revert, ...readable } = body.links;
    for (const link of Object.values<string>(readable)) expect((await call('GET', link)).status).toBe(200);
    for (const link of [retry, revert]) expect((await call('GET', link)).headers.get('allow')).toContain('POST');
  });

  it.each(['job_0', `job_${'0'.repeat(32)}`, 'x', '%00', encodeURIComponent("'; drop table")])(
    'answers 404 for %s',
    async (id) => {
      for (const path of ['', '/status', '/results', '/results.csv']) {
        expect(await call('GET', `/api/v1/jobs/${id}${path}`)).toMatchObject({
          status: 404,
          body: { code: 'job_not_found' },
        });
      }
      expect((await call('POST', `/api/v1/jobs/${id}/apply`)).body.code).toBe('job_not_found');
      expect((await call('GET', `/api/v1/bulk-jobs/${id}`)).body.code).toBe('job_not_found');
    },
  );

  it('does not show the jobs of another tenant', async () => {
    const authorization = `Bearer ${await served.keyOf('other')}`;
    for (const path of ['', '/status', '/results', '/results.csv']) {
      expect((await call('GET', `/api/v1/jobs/${jobId}${path}`, undefined, { authorization })).status).toBe(404);
    }
  });
});

describe('the list', () => {
  it('is newest first, filtered, in pages', async () => {
    const labels = ['a', 'b', 'c'];
    for (const label of labels) {
      await call('POST', '/api/v1/cases/bulk-update', { items: [{ id: 'none' }], options: { label } });
    }
    const { body } = await call('GET', '/api/v1/jobs?limit=2');
    expect(body.items.map((job: { label: string }) => job.label)).toEqual(['c', 'b']);
    const next = await call('GET', `/api/v1/jobs?limit=2&cursor=${body.nextCursor}`);
    expect(next.body.items[0].label).toBe('a');
    const named = await call('GET', '/api/v1/jobs?label=my+label&status=completed&collection=cases');
    expect(named.body.items.map((job: { jobId: string }) => job.jobId)).toEqual([jobId]);
    expect((await call('GET', '/api/v1/jobs?status=running')).body.items).toEqual([]);
  });

  it('does not hold the writes of single records', async () => {
    await call('PATCH', '/api/v1/cases/J-3', { title: 'single' });
    const { body } = await call('GET', '/api/v1/jobs');
    expect(body.items.map((job: { operation: string }) => job.operation)).not.toContain('update_one');
  });

  it.each(['status=done', 'limit=201', 'bogus=1', 'cursor=x', 'label=%00'])('refuses ?%s', async (query) => {
    expect((await call('GET', `/api/v1/jobs?${query}`)).status).toBe(400);
  });
});

describe('the results', () => {
  it('stand in request order, in pages, by status', async () => {
    const first = await call('GET', `/api/v1/jobs/${jobId}/results?limit=2`);
    expect(first.body.items).toMatchObject([
      { index: 0, id: 'J-1', caseId: 'J-1', ref: '+line 1', status: 'succeeded', changed: true, version: 2 },
      { index: 1, id: 'none', status: 'failed', error: { code: 'not_found', field: null } },
    ]);
    expect(first.headers.get('link')).toContain('rel="next"');
    const second = await call('GET', `/api/v1/jobs/${jobId}/results?limit=2&cursor=${first.body.nextCursor}`);
    expect(second.body.items.map(({ index }: { index: number }) => index)).toEqual([2, 3]);
    const failed = await call('GET', `/api/v1/jobs/${jobId}/results?status=failed`);
    expect(failed.body).toMatchObject({ items: [{ index: 1 }, { index: 2 }], nextCursor: null });
  });

  it('are filtered by code, as JSON, NDJSON and CSV', async () => {
    const path = `/api/v1/jobs/${jobId}/results`;
    const page = await call('GET', `${path}?code=not_found`);
    expect(page.body).toMatchObject({ items: [{ index: 1, error: { code: 'not_found' } }], nextCursor: null });
    const both = 'code=unknown_field&code=not_found';
    const first = await call('GET', `${path}?${both}&limit=1`);
    expect(first.body.items).toMatchObject([{ index: 1 }]);
    const next = /<(.+)>/.exec(first.headers.get('link') ?? '')?.[1] as string;
    expect((await call('GET', next)).body).toMatchObject({ items: [{ index: 2 }], nextCursor: null });
    const lines = await call('GET', `${path}?${both}`, undefined, { accept: 'application/x-ndjson' });
    expect(lines.text.trimEnd().split('\n')).toHaveLength(2);
    const csv = await call('GET', `${path}.csv?status=failed&code=unknown_field`);
    expect(parse(csv.text, { columns: true })).toMatchObject([{ caseId: 'J-2', title: 'comma, "quote"\nline' }]);
    const { status, body } = await call('GET', `${path}?code=not_found&code=missing`);
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: 'invalid_parameter', errors: [{ pointer: '/code/1' }] });
    expect(body.detail).toContain('must be one of "not_found", "validation_failed"');
  });

  it('come as lines of JSON', async () => {
    const { headers, text } = await call('GET', `/api/v1/jobs/${jobId}/results`, undefined, {
      accept: 'application/x-ndjson',
    });
    expect(headers.get('content-type')).toBe('application/x-ndjson');
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ index, caseId }) => [index, caseId])).toEqual([
      [0, 'J-1'],
      [1, 'none'],
      [2, 'J-2'],
      [3, 'J-3'],
      [4, '=J-4'],
    ]);
  });

  it('come as CSV that no spreadsheet takes for a formula', async () => {
    const { headers, text } = await call('GET', `/api/v1/jobs/${jobId}/results.csv`);
    expect(headers.get('content-type')).toContain('text/csv');
    expect(headers.get('content-disposition')).toContain(`${jobId}-results.csv`);
    expect(text.split('\r\n')[0]).toBe(
      'caseId,caseType,title,status,priority,assignee,data,ref,' +
        'result_index,result_status,result_changed,result_version,result_code,result_message,result_field',
    );
    const rows = parse(text, { columns: true }) as Record<string, string>[];
    expect(rows).toMatchObject([
      {
        caseId: 'J-1',
        title: '\'=HYPERLINK("x")',
        data: '{"a":[1,"b"]}',
        ref: "'+line 1",
        result_index: '0',
        result_changed: 'true',
      },
      { caseId: 'none', assignee: '\\N', result_status: 'failed', result_code: 'not_found', result_version: '' },
      { caseId: 'J-2', title: 'comma, "quote"\nline', result_code: 'unknown_field', result_field: 'colour' },
      { caseId: 'J-3', status: 'Under Review', result_version: '2' },
      { caseId: "'=J-4", title: 'grüße' },
    ]);
    const asked = await call('GET', `/api/v1/jobs/${jobId}/results?status=failed`, undefined, { accept: 'text/csv' });
    expect(parse(asked.text, { columns: true })).toHaveLength(2);
  });

  it('has a header even where there are no rows', async () => {
    const { text } = await call('GET', `/api/v1/jobs/${jobId}/results.csv?status=not_processed`);
    expect(text).toMatch(/^caseId,.*result_field\r\n$/);
  });

  it.each([
    ['?limit=1001', {}, 'invalid_parameter'],
    ['?cursor=x', {}, 'invalid_parameter'],
    ['?status=bad', {}, 'invalid_parameter'],
    ['?limit=5', { accept: 'text/csv' }, 'invalid_parameter'],
    ['', { accept: 'text/html' }, 'not_acceptable'],
  ])('refuses %s %j', async (query, headers, code) => {
    expect((await call('GET', `/api/v1/jobs/${jobId}/results${query}`, undefined, headers)).body.code).toBe(code);
  });
});

describe('waiting', () => {
  it('answers at once for a job that has ended, and refuses to wait longer than a minute', async () => {
    const preferred = await call('GET', `/api/v1/jobs/${jobId}/status`, undefined, { prefer: 'wait=30' });
    expect(preferred.body.status).toBe('completed');
    expect(preferred.headers.get('preference-applied')).toBe('wait=30');
    expect((await call('GET', `/api/v1/jobs/${jobId}/status?wait=61`)).body.code).toBe('invalid_parameter');
    expect((await call('GET', `/api/v1/jobs/${jobId}/status?wait=-1`)).body.code).toBe('invalid_parameter');
  });
});

describe('a job that cannot run yet', () => {
  let idle: Served;
  let waiting: string;
  beforeAll(async () => {
    // why: a server without workers leaves its jobs pending for as long as the test needs
    idle = await serve({ withoutWorkers: true });
    await idle.call('POST', '/api/v1/cases', { caseId: 'W-1', title: 'x' });
    const { body } = await idle.call('POST', '/api/v1/cases/bulk-update', {
      items: [{ id: 'W-1', fields: { title: 'y' } }],
      options: { mode: 'async' },
    });
    waiting = body.jobId;
  });
  afterAll(() => idle?.stop());

  it('says when to ask again', async () => {
    for (const path of ['', '/status', '/status?wait=1']) {
      const answer = await idle.call('GET', `/api/v1/jobs/${waiting}${path}`);
      expect(answer.body).toMatchObject({ status: 'pending', outcome: null });
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    }
  });

  it('is named by refresh-status for the records it holds', async () => {
    const { body } = await idle.call('POST', '/api/v1/cases/refresh-status', { caseIds: ['W-1'] });
    expect(body.cases).toMatchObject([{ caseId: 'W-1', version: 1, pendingJobIds: [waiting] }]);
  });

  it('has no results yet', async () => {
    expect((await idle.call('GET', `/api/v1/jobs/${waiting}/results`)).body).toEqual({ items: [], nextCursor: null });
    expect((await idle.call('GET', `/api/v1/jobs/${waiting}/results.csv`)).text.split('\r\n')).toHaveLength(2);
  });

  it('waits no longer once the client has gone', async () => {
    const key = await idle.keyOf('default');
    const waits = vi.spyOn(idle.engine, 'waitForJob');
    const { hostname, port } = new URL(idle.base);
    const socket = connect(Number(port), hostname);
    socket.write(
      `GET /api/v1/jobs/${waiting}/status?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`,
    );
    await waitUntil(async () => waits.mock.calls.length > 0, 'the request waits');
    socket.destroy();
    // why: were the wait still on, stopping would take its whole minute
    const started = performance.now();
    await idle.stop();
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});
