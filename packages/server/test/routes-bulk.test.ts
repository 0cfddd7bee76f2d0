import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served?.stop());

const call: Served['call'] = (...args) => served.call(...args);
const statusOf = async (id: string) => (await call('GET', `/api/v1/cases/${encodeURIComponent(id)}`)).body.status;
let count = 0;
const newIds = async (howMany: number) => {
  const ids = Array.from({ length: howMany }, () => `BULK-${++count}`);
  await createCases(served, ids);
  return ids;
};

describe('the accepted shapes', () => {
  const shapes: [string, string, (id: string) => unknown][] = [
    ['PATCH', '/cases/bulk-update', (id) => [{ caseId: id, status: 'Under Review' }]],
    ['POST', '/cases/bulk-update', (id) => [{ caseId: id, status: 'Under Review' }]],
    [
      'PATCH',
      '/cases/bulk-update',
      (id) => ({ updates: [{ caseId: id, status: 'Under Review' }], options: { label: 'x' } }),
    ],
    ['POST', '/cases/bulk-update', (id) => ({ updates: [{ caseId: id, status: 'Under Review' }] })],
    [
      'POST',
      '/cases/bulk-update',
      (id) => ({ items: [{ id, fields: { status: 'Under Review' }, version: 1, ref: 'csv line 12' }] }),
    ],
    ['POST', '/bulk-update', (id) => ({ collection: 'cases', items: [{ id, fields: { status: 'Under Review' } }] })],
    ['POST', '/bulk-update', (id) => ({ items: [{ id, fields: { status: 'Under Review' } }] })],
    ['PATCH', '/bulk-update', (id) => [{ id, status: 'Under Review' }]],
    [
      'POST',
      '/cases/bulk-update',
      (id) => ({ where: { q: id }, fields: { status: 'Under Review' }, expectedCount: 1 }),
    ],
  ];

  it.each(shapes)('%s %s applies %s', async (method, path, bodyOf) => {
    const id = `SHAPE-${++count}-`;
    await createCases(served, [id]);
    const answer = await call(method, `/api/v1${path}`, bodyOf(id) as never);
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({
      jobId: expect.stringMatching(/^job_[0-9a-f]{32}$/),
      status: 'completed',
      outcome: 'all_succeeded',
      summary: { total: 1, succeeded: 1, failed: 0, notProcessed: 0 },
      updated: 1,
      failed: 0,
      results: [
        {
          index: 0,
          id,
          caseId: id,
          status: 'succeeded',
          changed: true,
          version: 2,
          resource: { status: 'Under Review' },
        },
      ],
    });
    expect(Object.keys(answer.body)[0]).toBe('jobId');
    expect(await statusOf(id)).toBe('Under Review');
  });

  it('tells each item its own fate, in request order, each seeing the ones before', async () => {
    const [a, b] = (await newIds(2)) as [string, string];
    const { body, status } = await call('POST', '/api/v1/cases/bulk-update', {
      items: [
        { id: a, fields: { status: 'Resolved' } },
        { id: 'none', fields: { status: 'Resolved' }, ref: 'csv line 12' },
        { id: a, fields: { status: 'Closed' } },
        { id: b, fields: { status: 'New' } },
        { id: b, fields: { colour: 'red' } },
        { id: b, fields: {}, version: 9 },
        { id: b, fields: { status: 'In Progress' } },
      ],
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      outcome: 'some_failed',
      summary: { total: 7, succeeded: 3, failed: 4 },
      updated: 3,
      failed: 4,
    });
    expect(body.results).toMatchObject([
      { index: 0, status: 'succeeded', version: 2 },
      { index: 1, ref: 'csv line 12', status: 'failed', retryable: false, error: { code: 'not_found', field: null } },
      { index: 2, status: 'succeeded', version: 3, resource: { status: 'Closed' } },
      { index: 3, status: 'failed', error: { code: 'invalid_transition', field: 'status' } },
      { index: 4, status: 'failed', error: { code: 'unknown_field', field: 'colour' } },
      { index: 5, status: 'failed', error: { code: 'version_conflict' } },
      { index: 6, status: 'succeeded', changed: false, version: 1 },
    ]);
  });

  it('answers 200 also when every item failed', async () => {
    const { status, body } = await call('PATCH', '/api/v1/cases/bulk-update', [{ caseId: 'none', status: 'Closed' }]);
    expect(status).toBe(200);
    expect(body.outcome).toBe('all_failed');
  });

  it('creates many, making ids where there are none', async () => {
    const { body } = await call('POST', '/api/v1/orders/bulk-create', {
      items: [
        { orderId: 'ord_1', customer: 'ACME', amount: 5, currency: 'EUR' },
        { customer: 'ACME', amount: 5, currency: 'euro' },
        { id: 'ord_1', fields: { customer: 'ACME', amount: 5, currency: 'EUR' } },
        { customer: 'ACME', amount: 5.5, currency: 'USD', status: 'paid' },
      ],
    });
    expect(body.results).toMatchObject([
      { id: 'ord_1', orderId: 'ord_1', status: 'succeeded' },
      { error: { code: 'validation_failed', field: 'currency' } },
      { error: { code: 'already_exists' } },
      { orderId: expect.stringMatching(/^order_/), resource: { status: 'paid', amount: 5.5 } },
    ]);
    expect(body).not.toHaveProperty('updated');
  });
});

describe('what is refused as a whole', () => {
  const update = (body: unknown, path = '/cases/bulk-update') => call('POST', `/api/v1${path}`, body as never);

  it.each([
    [[], 422, 'batch_empty'],
    [{ items: [] }, 422, 'batch_empty'],
    [{}, 400, 'malformed_body'],
    ['"text"', 400, 'malformed_body'],
    ['[{]', 400, 'malformed_body'],
    ['', 400, 'malformed_body'],
    [{ items: [{ id: 'x' }], updates: [] }, 400, 'malformed_body'],
    [{ items: [{ id: 'x' }], more: 1 }, 400, 'malformed_body'],
    [{ items: [{ id: 'x' }], options: { speed: 'high' } }, 400, 'unknown_option'],
    [{ items: [{ id: 'x' }], options: { mode: 'fast' } }, 400, 'malformed_body'],
    [[{ status: 'Closed' }], 400, 'malformed_body'],
    [{ where: { colour: 'red' }, fields: { title: 'x' } }, 400, 'unknown_option'],
    [
      { where: { status: 'In Progress' }, fields: { title: 'x' }, expectedCount: 5_000 },
      409,
      'expected_count_mismatch',
    ],
    [Array(10_001).fill({ caseId: 'x' }), 413, 'batch_too_large'],
    [[{ caseId: 'x', data: { text: 'x'.repeat(66_560) } }], 413, 'batch_too_large'],
    [{ items: [{ id: 'x'.repeat(10_240) }] }, 400, 'malformed_body'],
  ])('%#', async (body, status, code) => {
    expect(await update(body)).toMatchObject({ status, body: { code, status } });
  });

  it('names the limit and the count', async () => {
    const { body } = await update(Array(10_001).fill({ caseId: 'x' }));
    expect(body).toMatchObject({ limit: 10_000, actual: 10_001 });
  });

  it('names an unknown collection and the known ones', async () => {
    const { status, body } = await update({ collection: 'flags', items: [{ id: 'x' }] }, '/bulk-update');
    expect({ status, code: body.code }).toEqual({ status: 404, code: 'unknown_collection' });
    expect(body.detail).toContain('cases, orders');
    expect((await update({ collection: 7, items: [{ id: 'x' }] }, '/bulk-update')).body.code).toBe('malformed_body');
    expect((await update([{ id: 'x' }], '/flags/bulk-update')).body.code).toBe('route_not_found');
  });

  it('refuses an unknown parameter', async () => {
    expect((await update([{ caseId: 'x' }], '/cases/bulk-update?mode=sync')).body.code).toBe('unknown_option');
  });
});

describe('options and preferences', () => {
  const update = (ids: string[], options: object, headers: Record<string, string> = {}) =>
    call(
      'POST',
      '/api/v1/cases/bulk-update',
      { items: ids.map((id) => ({ id, fields: { status: 'Under Review' } })), options } as never,
      headers,
    );

  it('takes more than 200 items as a job, with 202 and the place of the job', async () => {
    const ids = await newIds(201);
    const answer = await update(ids, {});
    expect(answer.status).toBe(202);
    expect(answer.headers.get('location')).toBe(`/api/v1/jobs/${answer.body.jobId}`);
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(answer.body).toMatchObject({
      status: 'pending',
      queued: 201,
      collection: 'cases',
      operation: 'update',
      outcome: null,
    });
    const ended = await call('GET', `${answer.headers.get('location')}/status?wait=30`);
    expect(ended.body).toMatchObject({
      status: 'completed',
      outcome: 'all_succeeded',
      progress: { processed: 201, total: 201 },
    });
    expect(ended.headers.get('retry-after')).toBeNull();
    expect(await statusOf(ids[200] as string)).toBe('Under Review');
  });

  it('answers 201 items at once in mode sync, and one item as a job in mode async', async () => {
    const ids = await newIds(201);
    expect(await update(ids, { mode: 'sync' })).toMatchObject({ status: 200, body: { summary: { succeeded: 201 } } });
    expect((await update(await newIds(1), { mode: 'async' })).status).toBe(202);
    expect((await update(await newIds(1), { waitForCompletion: false })).status).toBe(202);
    expect(await update(await newIds(201), { waitForCompletion: true })).toMatchObject({
      status: 200,
      body: { updated: 201 },
    });
    expect((await update(Array(1_001).fill('x'), { mode: 'sync' })).body).toMatchObject({
      code: 'batch_too_large',
      limit: 1_000,
    });
    expect((await update(Array(1_001).fill('x'), { atomic: true })).body).toMatchObject({
      code: 'batch_too_large',
      limit: 1_000,
    });
  });

  it('leaves the results of a large batch to its link', async () => {
    const { status, body } = await update(Array(1_001).fill('none'), { waitForCompletion: true, returnJobId: false });
    expect(status).toBe(200);
    expect(body).toMatchObject({ outcome: 'all_failed', summary: { total: 1_001, failed: 1_001 } });
    expect(body).not.toHaveProperty('results');
    const page = await call('GET', `${body.links.results}?limit=1000`);
    expect(page.body.items).toHaveLength(1_000);
    expect(page.body.nextCursor).not.toBeNull();
  });

  it('leaves the job out when asked to', async () => {
    const { body } = await update(await newIds(1), { returnJobId: false });
    expect(body).not.toHaveProperty('jobId');
    expect(body).not.toHaveProperty('links');
    expect(body.results).toHaveLength(1);
  });

  it('honours Prefer and says so', async () => {
    const async_ = await update(await newIds(1), {}, { prefer: 'respond-async' });
    expect(async_.status).toBe(202);
    expect(async_.headers.get('preference-applied')).toBe('respond-async');
    expect(async_.headers.get('vary')).toContain('Prefer');
    const waited = await update(await newIds(1), {}, { prefer: 'respond-async, wait=10, return=minimal' });
    expect(waited.status).toBe(200);
    expect(waited.headers.get('preference-applied')).toBe('respond-async, wait=10, return=minimal');
    expect(waited.body.results[0]).not.toHaveProperty('resource');
    const ignored = await update(await newIds(1), {}, { prefer: 'handling=lenient, wait=abc' });
    expect(ignored.status).toBe(200);
    expect(ignored.headers.get('preference-applied')).toBeNull();
  });

  it('lets the options of the body win over Prefer', async () => {
    const answer = await update(
      await newIds(1),
      { mode: 'sync', return: 'representation' },
      { prefer: 'respond-async, return=minimal' },
    );
    expect(answer.status).toBe(200);
    expect(answer.headers.get('preference-applied')).toBeNull();
    expect(answer.body.results[0]).toHaveProperty('resource');
  });

  it('applies an atomic batch as a whole, or answers 422 with the fate of each', async () => {
    const ids = await newIds(2);
    const failed = await update([...ids, 'none'], { atomic: true });
    expect(failed).toMatchObject({
      status: 422,
      body: {
        code: 'atomic_batch_failed',
        outcome: 'all_failed',
        summary: { total: 3, succeeded: 0, failed: 1, notProcessed: 2 },
        results: [
          { index: 0, caseId: ids[0], status: 'not_processed', error: { code: 'stopped' } },
          { index: 1, status: 'not_processed' },
          { index: 2, status: 'failed', error: { code: 'not_found' } },
        ],
      },
    });
    expect(await statusOf(ids[0] as string)).toBe('In Progress');
    expect((await call('GET', `/api/v1/jobs/${failed.body.jobId}`)).body).toMatchObject({
      atomic: true,
      status: 'completed',
    });
    expect((await update(ids, { atomic: true })).status).toBe(200);
    expect(await statusOf(ids[1] as string)).toBe('Under Review');
  });

  it('stops after maxErrors', async () => {
    const [id] = (await newIds(1)) as [string];
    const { body } = await update(['none', 'none', id], { maxErrors: 2 });
    expect(body.summary).toEqual({ total: 3, succeeded: 0, failed: 2, notProcessed: 1 });
    expect(body.results[2]).toMatchObject({ status: 'not_processed', retryable: true, error: { code: 'stopped' } });
  });

  it('previews without changing anything, then applies exactly that', async () => {
    const sampled = await call('POST', '/api/v1/cases/bulk-update', {
      where: { status: 'In Progress' },
      fields: { assignee: 'kim' },
      options: { dryRun: true, mode: 'async' },
    });
    expect(sampled.status).toBe(202);
    expect(sampled.body.sample).toHaveLength(Math.min(100, sampled.body.queued));
    expect(sampled.body.sample[0]).toMatchObject({ index: 0, caseId: expect.any(String), after: { assignee: 'kim' } });
    const [changed, kept] = (await newIds(2)) as [string, string];
    const preview = await update([changed, kept, 'none'], { dryRun: true });
    expect(preview.body).toMatchObject({
      dryRun: true,
      summary: { total: 3, succeeded: 2, failed: 1 },
      results: [
        { before: { status: 'In Progress' }, after: { status: 'Under Review' } },
        {},
        { error: { code: 'not_found' } },
      ],
    });
    expect(preview.body).not.toHaveProperty('updated');
    expect(await statusOf(kept)).toBe('In Progress');
    await call('PATCH', `/api/v1/cases/${changed}`, { title: 'changed since' });
    const apply = () => call('POST', preview.body.links.apply);
    const applied = await apply();
    expect(applied.status).toBe(202);
    expect(applied.headers.get('location')).toBe(`/api/v1/jobs/${applied.body.jobId}`);
    expect(applied.body).toMatchObject({ operation: 'apply', parentJobId: preview.body.jobId, queued: 3 });
    await call('GET', `/api/v1/jobs/${applied.body.jobId}/status?wait=30`);
    const { body } = await call('GET', `/api/v1/jobs/${applied.body.jobId}/results`);
    expect(body.items).toMatchObject([
      { error: { code: 'version_conflict' } },
      { status: 'succeeded' },
      { error: { code: 'not_found' } },
    ]);
    expect(await statusOf(kept)).toBe('Under Review');
    expect((await apply()).body.jobId).toBe(applied.body.jobId);
    expect((await call('POST', `/api/v1/jobs/${applied.body.jobId}/apply`)).body.code).toBe('job_conflict');
  });
});

describe('idempotency', () => {
  const headers = (key: string) => ({ 'idempotency-key': key });

  it('gives the first answer again, whichever method repeats it', async () => {
    const [caseId] = (await newIds(1)) as [string];
    const body = [{ caseId, status: 'Under Review' }, { caseId: 'none' }];
    const first = await call('PATCH', '/api/v1/cases/bulk-update', body, headers(`"${caseId}"`));
    const again = await call('POST', '/api/v1/cases/bulk-update', body, headers(caseId));
    expect(again.status).toBe(200);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    const other = await call('POST', '/api/v1/cases/bulk-update', [{ caseId }], headers(caseId));
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
    expect((await call('GET', `/api/v1/cases/${caseId}`)).body.version).toBe(2);
  });

  it('gives the same job again', async () => {
    const [caseId] = (await newIds(1)) as [string];
    const body = { items: [{ caseId, status: 'Under Review' }], options: { mode: 'async' } };
    const send = () => call('POST', '/api/v1/cases/bulk-update', body, headers(caseId));
    const [first, again] = [await send(), await send()];
    expect([first.status, again.status]).toEqual([202, 202]);
    expect(again.body.jobId).toBe(first.body.jobId);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
  });

  it('replays the failure of an atomic batch', async () => {
    const send = () =>
      call(
        'POST',
        '/api/v1/cases/bulk-update',
        { items: [{ id: 'none' }], options: { atomic: true } },
        headers('atomic-1'),
      );
    const [first, again] = [await send(), await send()];
    expect(again.status).toBe(422);
    expect(again.body.jobId).toBe(first.body.jobId);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
  });

  it('applies once what is sent fifty times at once', async () => {
    const [caseId] = (await newIds(1)) as [string];
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        call('POST', '/api/v1/cases/bulk-update', [{ caseId, title: 'once' }], headers(caseId)),
      ),
    );
    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true);
    expect(new Set(answers.filter(({ status }) => status === 200).map(({ body }) => body.jobId)).size).toBe(1);
    expect((await call('GET', `/api/v1/cases/${caseId}/history`)).body.items).toHaveLength(2);
  });
});

describe('done means visible', () => {
  it('shows every applied item to all reads that start after the answer', async () => {
    const ids = await newIds(100);
    await call(
      'PATCH',
      '/api/v1/cases/bulk-update',
      ids.map((caseId) => ({ caseId, status: 'Under Review' })),
    );
    const found = await Promise.all(ids.map(statusOf));
    expect(found.filter((status) => status !== 'Under Review')).toEqual([]);
  });
});
