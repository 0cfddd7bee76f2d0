import { type Case, DocketError, type Order } from '@docket/client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { collect, type ServedDocket, serveDocket } from './served-docket.ts';

let served: ServedDocket;
beforeAll(async () => {
  served = await serveDocket();
});
afterAll(() => served?.stop());
beforeEach(() => {
  served.asked.length = 0;
});

let made = 0;
async function newCases(count: number, more: object = {}): Promise<string[]> {
  const ids = Array.from({ length: count }, () => `SDK-${String(++made).padStart(5, '0')}`);
  const items = ids.map((caseId) => ({ caseId, title: `Case ${caseId}`, status: 'In Progress', ...more }));
  const handle = await served.docket.cases.bulkCreate(items);
  expect(await handle.done()).toMatchObject({ outcome: 'all_succeeded' });
  served.asked.length = 0;
  return ids;
}
const codeOf = async (call: Promise<unknown>) =>
  await call.then(
    () => 'none',
    (error: unknown) => (error instanceof DocketError ? error.code : String(error)),
  );

describe('single records', () => {
  it('are created, read, changed and looked back at', async () => {
    const { cases } = served.docket;
    const created = await cases.create({ title: 'Printer on fire', priority: 'high', data: { floor: 3 } });
    expect(created).toMatchObject({ status: 'New', caseType: 'general', version: 1 });
    const patched = await cases.patch(created.caseId, { assignee: 'kim', data: { room: 7 } }, { ifVersion: 1 });
    expect(patched).toMatchObject({ assignee: 'kim', data: { floor: 3, room: 7 }, version: 2 });
    expect(await cases.get(created.caseId)).toEqual(patched);
    expect(await codeOf(cases.patch(created.caseId, { assignee: null }, { ifVersion: 1 }))).toBe('version_conflict');
    const history = await collect(cases.history(created.caseId));
    expect(history.map(({ version, before }) => [version, before === null])).toEqual([
      [2, false],
      [1, true],
    ]);
  });

  it('that are wrong are refused with code, place and request id', async () => {
    const { cases } = served.docket;
    const [id = ''] = await newCases(1);
    const error = await cases.patch(id, { title: '' }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: 'validation_failed',
      status: 422,
      requestId: expect.stringMatching(/.{8}/),
      errors: [{ pointer: '/title', message: expect.any(String) }],
    });
    expect(await codeOf(cases.get('no such case/?'))).toBe('not_found');
    expect(await codeOf(cases.create({ caseId: id, title: 'x' }))).toBe('already_exists');
    expect(await codeOf(served.client({ apiKey: 'a-wrong-key-of-length' }).cases.get(id))).toBe('unauthenticated');
  });

  it('are listed over all pages, by filters', async () => {
    const ids = await newCases(450, { assignee: 'lister' });
    const found = await collect(served.docket.cases.list({ assignee: 'lister', sort: '-caseId' }));
    expect(found.map(({ caseId }) => caseId)).toEqual(ids.toReversed());
    expect(served.asked).toHaveLength(3);
    const none = served.docket.cases.list({
      status: ['Closed', 'Cancelled'],
      assignee: null,
      priority: ['low', 'urgent'],
    });
    expect(await collect(none)).toEqual([]);
    expect(served.asked[3]).toBe(
      'GET /cases?status=Closed&status=Cancelled&assignee=&priority=low&priority=urgent&limit=200',
    );
  });

  it('can be read once a job has decided them', async () => {
    const ids = await newCases(3);
    const items = ids.map((caseId) => ({ caseId, status: 'Under Review' }));
    const handle = await served.docket.cases.bulkUpdate(items, { mode: 'async' });
    const read = await served.docket.cases.get(ids[2] ?? '', { afterJob: handle.jobId, waitSeconds: 20 });
    expect(read.status).toBe('Under Review');
  });
});

describe('a small batch', () => {
  it('has ended when it is answered: no further request', async () => {
    const ids = await newCases(2);
    const handle = await served.docket.cases.bulkUpdate([
      { caseId: ids[0] ?? '', status: 'Under Review', ref: 'line 1' },
      { id: ids[1] ?? '', fields: { assignee: 'lee' }, version: 7, ref: 'line 2' },
      { caseId: 'none', status: 'Closed' },
    ]);
    expect(handle.end).toMatchObject({ outcome: 'some_failed', status: 'completed' });
    expect(await handle.done()).toEqual({
      jobId: handle.jobId,
      status: 'completed',
      outcome: 'some_failed',
      summary: { total: 3, succeeded: 1, failed: 2, notProcessed: 0 },
    });
    const results = await collect(handle.results());
    expect(results.map(({ index, status, error }) => [index, status, error?.code])).toEqual([
      [0, 'succeeded', undefined],
      [1, 'failed', 'version_conflict'],
      [2, 'failed', 'not_found'],
    ]);
    expect(results[0]?.resource?.status).toBe('Under Review');
    expect((await collect(handle.failed())).map(({ index }) => index)).toEqual([1, 2]);
    expect((await collect(handle.failed({ code: 'not_found' }))).map(({ index }) => index)).toEqual([2]);
    expect((await collect(handle.results({ code: ['not_found', 'version_conflict'] }))).length).toBe(2);
    expect(served.asked).toEqual(['POST /cases/bulk-update']);
  });

  it('may be atomic: its failure is an error with the results', async () => {
    const [id = ''] = await newCases(1);
    const items = [{ caseId: id, status: 'Resolved' }, { caseId: 'none' }];
    const error = await served.docket.cases.bulkUpdate(items, { atomic: true }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'atomic_batch_failed', status: 422 });
    expect((error as DocketError).results?.map(({ error }) => error?.code)).toEqual(['stopped', 'not_found']);
    expect((await served.docket.cases.get(id)).status).toBe('In Progress');
  });

  it('may be a selection, guarded by its size', async () => {
    await newCases(3, { assignee: 'selected' });
    const selection = { where: { assignee: 'selected' }, fields: { priority: 'urgent' }, expectedCount: 4 } as const;
    const refusal = await served.docket.cases.bulkUpdate(selection).catch((caught: unknown) => caught);
    expect(refusal).toMatchObject({ code: 'expected_count_mismatch', actual: 3 });
    const handle = await served.docket.cases.bulkUpdate({ ...selection, expectedCount: 3 }, { return: 'minimal' });
    expect((await handle.done()).summary.succeeded).toBe(3);
  });

  it('may be a dry run, that is applied as it was shown', async () => {
    const ids = await newCases(2);
    const preview = await served.docket.cases.bulkUpdate(
      ids.map((caseId) => ({ caseId, assignee: 'kim' })),
      { dryRun: true },
    );
    const [shown] = await collect(preview.results());
    expect(shown).toMatchObject({ before: { assignee: null }, after: { assignee: 'kim' } });
    await served.docket.cases.patch(ids[1] ?? '', { title: 'Changed since' });
    const applied = await preview.apply();
    expect((await applied.done()).summary).toMatchObject({ succeeded: 1, failed: 1 });
    expect((await collect(applied.failed()))[0]?.error?.code).toBe('version_conflict');
  });

  it('is refused as a whole with the places that are wrong', async () => {
    const { cases } = served.docket;
    expect(await codeOf(cases.bulkUpdate([]))).toBe('batch_empty');
    const error = await cases.bulkUpdate([{ caseId: '' }]).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'malformed_body', errors: [{ pointer: '/items/0/caseId' }] });
    expect(await codeOf(cases.bulkUpdate([{ caseId: 'x' }], { label: '' }))).toBe('malformed_body');
  });
});

describe('a job', () => {
  it('is followed to its end, and its results read page by page', async () => {
    const ids = await newCases(250);
    const items = [...ids.map((caseId) => ({ caseId, status: 'Under Review' })), { caseId: 'none', status: 'Closed' }];
    const handle = await served.docket.cases.bulkUpdate(items, { label: 'followed', priority: 'high' });
    expect(handle.end).toBeUndefined();
    let told = 0;
    const end = await handle.done({ onProgress: () => told++ });
    expect(end).toMatchObject({ outcome: 'some_failed', summary: { total: 251, succeeded: 250, failed: 1 } });
    expect(told).toBeGreaterThan(0);
    const results = await collect(handle.results());
    expect(results.map(({ id }) => id)).toEqual(items.map(({ caseId }) => caseId));
    expect((await collect(handle.failed())).map(({ error }) => error?.code)).toEqual(['not_found']);
    const [listed] = await collect(served.docket.jobs.list({ label: 'followed' }));
    expect(listed).toEqual(await handle.get());
    expect(listed).toMatchObject({ priority: 'high', dryRun: false });
  });

  it('gives its results only when it has ended', async () => {
    const ids = await newCases(2);
    const handle = await served.docket.cases.bulkUpdate(
      ids.map((caseId) => ({ caseId, assignee: 'kim' })),
      { mode: 'async', return: 'representation' },
    );
    const followed = served.docket.jobs.follow<Case>(handle.jobId);
    expect((await collect(followed.results())).map(({ resource }) => resource?.assignee)).toEqual(['kim', 'kim']);
  });

  it('is retried, reverted and removed', async () => {
    const [id = ''] = await newCases(1);
    const handle = await served.docket.cases.bulkUpdate([
      { caseId: id, status: 'Under Review' },
      { caseId: `${id}-later`, status: 'In Progress' },
    ]);
    await served.docket.cases.create({ caseId: `${id}-later`, title: 'Late' });
    const retried = await handle.retry();
    expect((await retried.done()).summary).toMatchObject({ total: 1, succeeded: 1 });
    expect((await handle.retry()).jobId).toBe(retried.jobId);
    expect(await codeOf(handle.retry({ only: 'retryable' }))).toBe('job_conflict');
    const reverted = await handle.revert();
    expect((await reverted.done()).outcome).toBe('all_succeeded');
    expect((await served.docket.cases.get(id)).status).toBe('In Progress');
    await served.docket.jobs.delete(reverted.jobId);
    expect(await codeOf(reverted.get())).toBe('job_not_found');
    expect(await codeOf(served.docket.jobs.follow(reverted.jobId).done())).toBe('job_not_found');
  });
});

describe('a job that nobody runs yet', () => {
  let idle: ServedDocket;
  beforeAll(async () => {
    idle = await serveDocket({ withoutWorkers: true });
  });
  afterAll(() => idle?.stop());

  it('is paused, resumed and cancelled', async () => {
    const handle = await idle.docket.cases.bulkUpdate([{ caseId: 'C-1', status: 'Closed' }], { mode: 'async' });
    expect((await handle.pause()).status).toBe('paused');
    expect((await handle.resume()).status).toBe('pending');
    expect(await codeOf(handle.done({ timeoutMs: 1 }))).toBe('job_timeout');
    expect((await handle.cancel()).status).toBe('cancelled');
    expect(await handle.done()).toMatchObject({ status: 'cancelled', summary: { notProcessed: 1 } });
    expect(await collect(handle.failed())).toEqual([]);
    const [result] = await collect(handle.results({ status: 'not_processed' }));
    expect(result).toMatchObject({ error: { code: 'cancelled' }, retryable: true });
    expect(await codeOf(handle.pause())).toBe('job_conflict');
  });

  it('is named by the cases that it holds', async () => {
    await idle.docket.cases.create({ caseId: 'C-2', title: 'Held' });
    const handle = await idle.docket.cases.bulkUpdate([{ caseId: 'C-2', status: 'Closed' }], { mode: 'async' });
    const { cases, notFound } = await idle.docket.cases.refreshStatus(['C-2', 'C-404']);
    expect(cases).toMatchObject([{ caseId: 'C-2', status: 'New', pendingJobIds: [handle.jobId] }]);
    expect(notFound).toEqual(['C-404']);
  });
});

it('asks for any number of statuses', async () => {
  const ids = await newCases(3);
  const many = [...ids, ...Array.from({ length: 2_000 }, (_, index) => `none-${index}`)];
  const { cases, notFound } = await served.docket.cases.refreshStatus(many, { forceCacheInvalidation: true });
  expect(cases.map(({ caseId }) => caseId)).toEqual(ids);
  expect(notFound).toHaveLength(2_000);
  expect(served.asked).toHaveLength(3);
});

it('speaks of other collections as of cases', async () => {
  interface Purchase extends Pick<Order, 'orderId' | 'customer' | 'amount' | 'currency' | 'version'> {
    status: string;
  }
  const purchases = served.docket.collection<Purchase>('orders');
  await purchases.create({ orderId: 'O-1', customer: 'Ada', amount: 12.5, currency: 'EUR' });
  const handle = await purchases.bulkUpdate([
    { orderId: 'O-1', status: 'paid' },
    { id: 'O-1', fields: { status: 'shipped' } },
    { id: 'O-1', amount: 13 },
  ]);
  expect((await handle.done()).outcome).toBe('all_succeeded');
  const [first] = await collect(served.docket.orders.list({ customer: 'Ada', status: 'shipped' }));
  expect(first).toMatchObject({ orderId: 'O-1', amount: 13, note: null, version: 4 });
  expect(await codeOf(served.docket.collection('nothing').get('x'))).toBe('route_not_found');
});

it('reads and writes case types, and knows the limits', async () => {
  const { caseTypes } = served.docket;
  const definition = { statuses: ['Open', 'Shut'], transitions: { Open: ['Shut'] }, initialStatus: 'Open' };
  const put = await caseTypes.put('door', definition);
  expect(put).toEqual({ name: 'door', ...definition, dataSchema: null, builtIn: false });
  expect(await caseTypes.put('door', put)).toEqual(put);
  expect((await collect(caseTypes.list())).map(({ name }) => name)).toContain('door');
  expect((await caseTypes.get('general')).initialStatus).toBe('New');
  expect((await served.docket.limits()).syncAutoItems).toBe(200);
});

it('knows what was sent in a month', async () => {
  const before = await served.docket.usage();
  await newCases(3);
  const { month, days, total } = await served.docket.usage(before.month);
  expect([month, total.batches, total.items, total.credits]).toEqual([
    before.month,
    before.total.batches + 1,
    before.total.items + 3,
    before.total.credits + 2.5,
  ]);
  expect(days[0]?.day).toBe(`${month}-01`);
  expect(await codeOf(served.docket.usage('May'))).toBe('invalid_parameter');
});
