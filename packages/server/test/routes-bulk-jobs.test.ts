import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collections } from '../src/collections/index.ts';
import { nameOperations } from '../src/routes/bulk-jobs.ts';
import { type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
  await served.call('POST', '/api/v1/orders/bulk-create', {
    items: [
      { orderId: 'ord_123', customer: 'ACME', amount: 10, currency: 'EUR' },
      { orderId: 'ord_124', customer: 'ACME', amount: 20, currency: 'EUR', status: 'delivered' },
    ],
  });
});
afterAll(() => served?.stop());

const call: Served['call'] = (...args) => served.call(...args);
const submit = (operation: string, items: unknown, more: object = {}) =>
  call('POST', '/bulk-jobs', { operation, items, ...more } as never);
const ended = async (id: string) => {
  await call('GET', `/api/v1/jobs/${id}/status?wait=30`);
  return (await call('GET', `/bulk-jobs/${id}`)).body;
};

describe('/bulk-jobs', () => {
  it.each(['', '/api/v1'])('takes a job under "%s" and tells how it stands', async (prefix) => {
    await call('POST', '/api/v1/orders', { orderId: `ord${prefix}`, customer: 'ACME', amount: 1, currency: 'EUR' });
    const body = { operation: 'update_orders_status', items: [{ id: `ord${prefix}`, status: 'cancelled' }] };
    const taken = await call('POST', `${prefix}/bulk-jobs`, body);
    expect(taken.status).toBe(202);
    expect(taken.headers.get('location')).toBe(`${prefix}/bulk-jobs/${taken.body.id}`);
    expect(taken.body).toMatchObject({
      operation: 'update_orders_status',
      status: 'pending',
      created_at: expect.any(String),
    });
    expect(await ended(taken.body.id)).toEqual({
      id: taken.body.id,
      operation: 'update_orders_status',
      status: 'completed',
      outcome: 'all_succeeded',
      total_items: 1,
      succeeded: 1,
      failed: 0,
      not_processed: 0,
      created_at: taken.body.created_at,
      started_at: expect.any(String),
      completed_at: expect.any(String),
      result_url: `/api/v1/jobs/${taken.body.id}/results`,
    });
    expect((await call('GET', taken.headers.get('location') as string)).status).toBe(200);
    const order = await call('GET', `/api/v1/orders/${encodeURIComponent(`ord${prefix}`)}`);
    expect(order.body.status).toBe('cancelled');
  });

  it('counts what failed, and points to why', async () => {
    const { body } = await submit('update_orders_status', [
      { id: 'ord_124', status: 'pending' },
      { id: 'none', status: 'paid' },
      { id: 'ord_124', status: 'refunded' },
    ]);
    const job = await ended(body.id);
    expect(job).toMatchObject({ status: 'completed', outcome: 'some_failed', succeeded: 1, failed: 2 });
    const results = await call('GET', job.result_url);
    expect(results.body.items.map((item: { error?: { code: string } }) => item.error?.code)).toEqual([
      'invalid_transition',
      'not_found',
      undefined,
    ]);
  });

  it('has operations for whole records too', async () => {
    const { body } = await submit('update_orders', [{ id: 'ord_123', note: 'a', amount: 11 }]);
    expect(await ended(body.id)).toMatchObject({ operation: 'update_orders', succeeded: 1 });
    expect((await submit('update_cases_status', [{ id: 'none', status: 'Closed' }])).status).toBe(202);
  });

  it('gives a job that was submitted elsewhere a name', async () => {
    const { body } = await call('PATCH', '/api/v1/cases/bulk-update', [{ caseId: 'none' }]);
    expect((await call('GET', `/bulk-jobs/${body.jobId}`)).body.operation).toBe('update_cases');
  });

  it('gives the same job for the same idempotency key, and another for none', async () => {
    const body = { operation: 'update_orders_note', items: [{ id: 'ord_123', note: 'x' }] };
    const headers = { 'idempotency-key': '"job-1"' };
    const first = await call('POST', '/bulk-jobs', body, headers);
    const again = await call('POST', '/api/v1/bulk-jobs', body, headers);
    expect(again.body.id).toBe(first.body.id);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect((await call('POST', '/bulk-jobs', body)).body.id).not.toBe(first.body.id);
  });

  it.each([
    ['update_flags', [{ id: 'x' }], {}, 422, 'unknown_operation'],
    ['update_orders_status', [], {}, 422, 'batch_empty'],
    ['update_orders_status', undefined, {}, 400, 'malformed_body'],
    ['update_orders_status', [{ id: 'x', status: 'paid' }], { priority: 'high' }, 400, 'malformed_body'],
    ['update_orders_status', [{ id: 'x', note: 'y' }], {}, 400, 'malformed_body'],
    ['update_orders_status', [{ id: 'x' }], {}, 400, 'malformed_body'],
    ['update_orders_status', Array(10_001).fill({ id: 'x', status: 'paid' }), {}, 413, 'batch_too_large'],
  ])('refuses %s %#', async (operation, items, more, status, code) => {
    expect(await submit(operation, items, more)).toMatchObject({ status, body: { code } });
  });

  it('lists the operations that exist', async () => {
    const { body } = await submit('update_flags', [{ id: 'x' }]);
    expect(body.detail).toContain('update_orders_status');
    expect([...nameOperations(collections.map(({ collection }) => collection)).keys()]).toEqual([
      'update_cases',
      'update_cases_title',
      'update_cases_status',
      'update_cases_priority',
      'update_cases_assignee',
      'update_cases_data',
      'update_orders',
      'update_orders_status',
      'update_orders_customer',
      'update_orders_amount',
      'update_orders_currency',
      'update_orders_note',
    ]);
  });

  it('needs a key', async () => {
    expect((await call('GET', '/bulk-jobs/x', undefined, { authorization: 'Bearer wrong' })).status).toBe(401);
  });
});
