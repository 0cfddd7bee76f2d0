import { sql } from '@docket/engine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callerOf } from './call.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
  await createCases(served, ['A']);
});
afterAll(() => served?.stop());

const url = 'https://hooks.example.com/docket';
const events = ['job.completed', 'cases.updated'];
const add = (body: object = {}) => served.call('POST', '/api/v1/webhooks', { url, events, ...body } as never);

describe('endpoints', () => {
  it('are added with a secret that is shown once', async () => {
    const { status, headers, body } = await add();
    expect(status).toBe(201);
    expect(body).toEqual({
      webhookId: expect.stringMatching(/^wh_[0-9a-f]{32}$/),
      url,
      events,
      enabled: true,
      envelope: 'standard',
      disabledReason: null,
      failingSince: null,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
      secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    });
    const { secret, ...shown } = body;
    expect(Buffer.from(secret.slice(6), 'base64')).toHaveLength(32);
    const path = headers.get('location') as string;
    expect(path).toBe(`/api/v1/webhooks/${body.webhookId}`);
    expect((await served.call('GET', path)).body).toEqual(shown);
    const changed = await served.call('PATCH', path, { enabled: false, events: ['orders.updated', 'orders.updated'] });
    expect(changed.body).toMatchObject({ enabled: false, events: ['orders.updated'], url });
    expect(changed.text).not.toContain(secret);
    const rotated = await served.call('POST', `${path}/rotate`);
    expect(rotated).toMatchObject({ status: 200, body: { secret: expect.stringMatching(/^whsec_/) } });
    expect((await served.call('DELETE', path)).status).toBe(204);
    for (const [method, end] of [
      ['GET', ''],
      ['PATCH', ''],
      ['DELETE', ''],
      ['POST', '/rotate'],
      ['POST', '/test'],
      ['GET', '/deliveries'],
    ] as const) {
      const gone = await served.call(method, path + end, method === 'PATCH' ? { enabled: true } : undefined);
      expect(gone, method + end).toMatchObject({ status: 404, body: { code: 'not_found' } });
    }
  });

  it('are listed page by page, newest first, without the callbacks', async () => {
    const made: string[] = [];
    for (let n = 0; n < 3; n++) made.push((await add()).body.webhookId);
    await served.call('POST', '/api/v1/webhooks/callbacks/rotate');
    const first = await served.call('GET', '/api/v1/webhooks?limit=2');
    expect(first.headers.get('link')).toContain('rel="next"');
    const rest = await served.call('GET', `/api/v1/webhooks?limit=2&cursor=${first.body.nextCursor}`);
    const ids = [...first.body.items, ...rest.body.items].map(({ webhookId }) => webhookId);
    expect(ids).toEqual(made.toReversed());
    expect(rest.body.nextCursor).toBeNull();
    expect(first.text + rest.text).not.toContain('whsec_');
    expect(await served.call('GET', '/api/v1/webhooks?cursor=x')).toMatchObject({
      status: 400,
      body: { code: 'invalid_parameter' },
    });
    for (const id of made) await served.call('DELETE', `/api/v1/webhooks/${id}`);
  });

  it.each([
    [{ url: 'http://127.0.0.1/' }, 422, 'validation_failed', '127.0.0.1 (loopback)'],
    [{ url: 'http://2852039166/latest/meta-data' }, 422, 'validation_failed', '169.254.169.254 (linkLocal)'],
    [{ url: 'http://[::ffff:10.0.0.1]/' }, 422, 'validation_failed', 'not public'],
    [{ url: 'https://example.com:8443/' }, 422, 'validation_failed', 'port is 8443'],
    [{ url: 'ftp://example.com/' }, 422, 'validation_failed', 'scheme'],
    [{ url: 'nonsense' }, 422, 'validation_failed', 'no absolute URL'],
    [{ url: `https://example.com/${'x'.repeat(2_048)}` }, 400, 'malformed_body', '2048'],
    [{ url: `https://example.com/${'ü'.repeat(1_000)}` }, 422, 'validation_failed', '2048'],
    [{ events: ['case.updated'] }, 422, 'validation_failed', 'cases.updated, orders.updated'],
    [{ events: [] }, 400, 'malformed_body', 'events'],
    [{ events: 'job.completed' }, 400, 'malformed_body', 'events'],
    [{ envelope: 'soap' }, 400, 'malformed_body', 'envelope'],
    [{ secret: 'mine' }, 400, 'malformed_body', 'secret'],
    [{ enabled: 'yes' }, 400, 'malformed_body', 'enabled'],
  ])('%j is refused', async (body, status, code, detail) => {
    const answer = await add(body);
    expect(answer).toMatchObject({ status, body: { code, detail: expect.stringContaining(detail) } });
  });

  it('of another tenant do not exist', async () => {
    const { webhookId } = (await add()).body;
    const other = callerOf(served.base, await served.keyOf('other'));
    const path = `/api/v1/webhooks/${webhookId}`;
    for (const [method, end, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { enabled: false }],
      ['DELETE', '', undefined],
      ['POST', '/rotate', undefined],
      ['POST', '/test', undefined],
      ['POST', '/replay', { since: '2020-01-01T00:00:00Z' }],
      ['GET', '/deliveries', undefined],
      ['POST', `/deliveries/msg_${'0'.repeat(32)}/resend`, undefined],
    ] as const) {
      expect((await other(method, path + end, body)).status, method + end).toBe(404);
    }
    expect((await other('GET', '/api/v1/webhooks')).body.items).toEqual([]);
    await served.call('DELETE', path);
  });

  it('are at most 100', async () => {
    const statuses = new Set<number>();
    for (let n = 0; n < 100; n++) statuses.add((await add()).status);
    expect([...statuses]).toEqual([201]);
    expect(await add()).toMatchObject({ status: 409, body: { code: 'constraint_violation', limit: 100 } });
    await served.engine.pool.query(sql`delete from docket.webhook_endpoints`);
  });
});

describe('the log', () => {
  it('shows what is to be sent, filtered, and page by page', async () => {
    const { webhookId } = (await add()).body;
    const path = `/api/v1/webhooks/${webhookId}`;
    for (let n = 0; n < 3; n++) await served.call('PATCH', '/api/v1/cases/A', { title: `Title ${n}` });
    await served.call('POST', `${path}/test`);
    const first = await served.call('GET', `${path}/deliveries?limit=2&event=cases.updated&status=pending`);
    expect(first.body.items[0]).toEqual({
      deliveryId: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
      webhookId,
      event: 'cases.updated',
      status: 'pending',
      occurredAt: expect.any(String),
      nextAttemptAt: expect.any(String),
      request: { method: 'POST', url, contentType: 'application/json', body: expect.stringContaining('"ids":["A"]') },
      attempts: [],
    });
    const next = `${path}/deliveries?limit=2&event=cases.updated&status=pending&cursor=${first.body.nextCursor}`;
    const rest = await served.call('GET', next);
    expect([first.body.items.length, rest.body.items.length, rest.body.nextCursor]).toEqual([2, 1, null]);
    expect((await served.call('GET', next.replace('pending', 'failed'))).body.code).toBe('invalid_parameter');
    expect((await served.call('GET', `${path}/deliveries?status=sent`)).body.code).toBe('invalid_parameter');
    expect((await served.call('GET', `${path}/deliveries?event=webhook.test`)).body.items).toHaveLength(1);
    expect((await served.call('POST', `${path}/deliveries/msg_1/resend`)).status).toBe(404);
    const replay = (body: object) => served.call('POST', `${path}/replay`, body as never);
    expect(await replay({ since: '2020-01-01T00:00:00Z' })).toMatchObject({ status: 202, body: { replayed: 0 } });
    for (const body of [{}, { since: 'yesterday' }, { since: '2020-01-01T00:00:00Z', only: 'some' }]) {
      expect((await replay(body)).body.code).toBe('malformed_body');
    }
    expect((await replay({ since: '0000-01-01T00:00:00Z' })).status).toBeLessThan(500);
  });
});

describe('callbackUrl', () => {
  const items = [{ caseId: 'A', title: 'Called back' }];
  const bulk = (options: object) => served.call('POST', '/api/v1/cases/bulk-update', { items, options } as never);

  it.each([
    ['nonsense', 400, 'malformed_body'],
    [17, 400, 'malformed_body'],
    ['ftp://example.com/', 400, 'malformed_body'],
    ['http://169.254.169.254/latest', 422, 'validation_failed'],
    ['http://localhost:22/', 422, 'validation_failed'],
  ])('%s is refused before anything is applied', async (callbackUrl, status, code) => {
    expect(await bulk({ callbackUrl })).toMatchObject({ status, body: { code } });
  });

  it('is recorded with the job’s end', async () => {
    const { body } = await bulk({ callbackUrl: 'https://example.com/done' });
    const log = await served.call('GET', '/api/v1/webhooks/callbacks/deliveries');
    expect(log.body.items).toMatchObject([{ event: 'job.completed', request: { url: 'https://example.com/done' } }]);
    expect(log.body.items[0].request.body).toContain(body.jobId);
    for (const [method, end] of [
      ['PATCH', ''],
      ['DELETE', ''],
      ['POST', '/test'],
    ] as const) {
      const path = `/api/v1/webhooks/callbacks${end}`;
      expect((await served.call(method, path, method === 'PATCH' ? { enabled: false } : undefined)).status).toBe(404);
    }
  });
});
