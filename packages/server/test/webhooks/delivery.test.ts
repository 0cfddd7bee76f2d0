import { sql } from '@docket/engine';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { callerOf } from '../call.ts';
import { createCases } from '../served.ts';
import { type Delivering, serveDelivering } from './delivering.ts';
import type { Received, Receiver } from './receiver.ts';

let docket: Delivering;
beforeAll(async () => {
  docket = await serveDelivering();
  docket.deliverer();
  await createCases(docket, ['A', 'B', 'C']);
});
afterAll(() => docket?.stop());

const came = (receiver: Receiver, count = 1) =>
  waitUntil(() => receiver.received.length >= count, `${count} deliveries have come`);
let titles = 0;
const newTitle = () => `Title ${titles++}`;
const update = (ids: string[], options = {}) =>
  docket.call('POST', '/api/v1/cases/bulk-update', {
    items: ids.map((id) => ({ id, fields: { title: newTitle() } })),
    options,
  });
const verify = (secret: string, { body, headers }: Received) =>
  new Webhook(secret).verify(body, headers as Record<string, string>);

describe('what is told', () => {
  it('each change that was committed, signed so that the public library verifies it', async () => {
    const receiver = await docket.receiver();
    const { secret } = await docket.subscribe(receiver.url);
    const { body } = await update(['A', 'B', 'nobody']);
    await came(receiver);
    const [first] = receiver.received as [Received];
    expect(verify(secret, first)).toEqual({
      type: 'cases.updated',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      data: { jobId: body.jobId, collection: 'cases', ids: ['A', 'B'] },
    });
    expect(first.headers).toMatchObject({
      'content-type': 'application/json',
      'webhook-id': expect.stringMatching(/^msg_[0-9a-f]{32}$/),
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/),
    });
  });

  it('also a single write and a creation, and nothing where nothing changed', async () => {
    const receiver = await docket.receiver();
    await docket.subscribe(receiver.url);
    await docket.call('PATCH', '/api/v1/cases/A', { title: 'Once' });
    await docket.call('PATCH', '/api/v1/cases/A', { title: 'Once' });
    await docket.call('PATCH', '/api/v1/cases/A', { status: 'nonsense' });
    await update(['A'], { dryRun: true });
    await update(['A', 'nobody'], { atomic: true });
    const { body } = await docket.call('POST', '/api/v1/cases', { title: 'New' });
    await came(receiver, 2);
    expect(receiver.received.map(({ event }) => event.data.ids).sort()).toEqual([['A'], [body.caseId]].sort());
  });

  it('the end of a job that was not answered with its results', async () => {
    const receiver = await docket.receiver();
    const { secret } = await docket.subscribe(receiver.url, ['job.completed', 'job.failed', 'job.cancelled']);
    await update(['A']);
    const { body: done } = await update(['A', 'nobody'], { mode: 'async', label: 'may' });
    await came(receiver);
    expect(verify(secret, receiver.received[0] as Received)).toEqual({
      type: 'job.completed',
      timestamp: (await docket.call('GET', `/api/v1/jobs/${done.jobId}`)).body.completedAt,
      data: {
        jobId: done.jobId,
        collection: 'cases',
        operation: 'update',
        status: 'completed',
        outcome: 'some_failed',
        summary: { total: 2, succeeded: 1, failed: 1, notProcessed: 0 },
        label: 'may',
        dryRun: false,
        parentJobId: null,
        createdAt: done.createdAt,
        completedAt: expect.any(String),
        links: { self: `/api/v1/jobs/${done.jobId}`, results: `/api/v1/jobs/${done.jobId}/results` },
      },
    });
  });

  it('each chunk of a large job, in events of less than 20 kB', async () => {
    const ids = Array.from({ length: 1_200 }, (_, n) => `LARGE-${'x'.repeat(40)}-${n}`);
    const receiver = await docket.receiver();
    await docket.subscribe(receiver.url);
    await createCases(docket, ids);
    await waitUntil(
      () => receiver.received.flatMap(({ event }) => event.data.ids).length >= ids.length,
      'all ids came',
    );
    expect(receiver.received.flatMap(({ event }) => event.data.ids).sort()).toEqual([...ids].sort());
    expect(Math.max(...receiver.received.map(({ body }) => body.length))).toBeLessThan(20_000);
  });

  it('nothing of a transaction that was rolled back', async () => {
    const { webhookId } = await docket.subscribe('http://127.0.0.1:9/', ['cases.updated', 'job.completed']);
    await docket.engine.pool.query(sql`
      create function refuse_title() returns trigger language plpgsql as
        $$ begin if new.title = 'refuse me' then raise check_violation; end if; return new; end $$`);
    await docket.engine.pool.query(
      sql`create constraint trigger refused after update on docket.cases deferrable initially deferred for each row execute function refuse_title()`,
    );
    const answer = await docket.call('PATCH', '/api/v1/cases/A', { title: 'refuse me' });
    expect(answer.status).toBe(409);
    await docket.engine.pool.query(sql`drop trigger refused on docket.cases`);
    expect(await docket.deliveries(webhookId)).toEqual([]);
    await docket.call('DELETE', `/api/v1/webhooks/${webhookId}`);
  });

  it('as CloudEvents where an endpoint asks for it, and with the trace of the request', async () => {
    const receiver = await docket.receiver();
    const { secret } = await docket.subscribe(receiver.url, ['cases.updated'], { envelope: 'cloudevents' });
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await docket.call('PATCH', '/api/v1/cases/A', { title: newTitle() }, { traceparent });
    await came(receiver);
    const [first] = receiver.received as [Received];
    expect(first.headers).toMatchObject({ 'content-type': 'application/cloudevents+json', traceparent });
    expect(verify(secret, first)).toMatchObject({
      specversion: '1.0',
      id: first.headers['webhook-id'],
      data: { ids: ['A'] },
    });
  });

  it('to the endpoints of the tenant alone, and the same event to each under the same id', async () => {
    const [ours, also, theirs] = await Promise.all([docket.receiver(), docket.receiver(), docket.receiver()]);
    await docket.subscribe(ours.url);
    await docket.subscribe(also.url);
    const other = callerOf(docket.base, await docket.keyOf('other'));
    await other('POST', '/api/v1/webhooks', { url: theirs.url, events: ['cases.updated'] });
    await update(['A']);
    await other('POST', '/api/v1/cases', { caseId: 'OTHER', title: 'Theirs' });
    await Promise.all([came(ours), came(also), came(theirs)]);
    expect(ours.received[0]?.headers['webhook-id']).toBe(also.received[0]?.headers['webhook-id']);
    expect(theirs.received.map(({ event }) => event.data.ids)).toEqual([['OTHER']]);
    expect([ours.received.length, also.received.length]).toEqual([1, 1]);
  });
});

describe('the callback of a job', () => {
  const callbackSecret = async () => (await docket.call('POST', '/api/v1/webhooks/callbacks/rotate')).body.secret;

  it('is told its end, once, however it was answered', async () => {
    const receiver = await docket.receiver();
    const secret = await callbackSecret();
    const { body: now } = await update(['A'], { callbackUrl: receiver.url });
    const { body: later } = await update(['A'], { callbackUrl: receiver.url, mode: 'async' });
    const { body: streamed } = await docket.call(
      'POST',
      `/api/v1/cases/bulk-update?callbackUrl=${encodeURIComponent(receiver.url)}`,
      '{"caseId":"A"}\n',
      { 'content-type': 'application/x-ndjson' },
    );
    await came(receiver, 3);
    expect(receiver.received.map(({ event }) => event.data.jobId).sort()).toEqual(
      [now.jobId, later.jobId, streamed.jobId].sort(),
    );
    for (const one of receiver.received) expect(verify(secret, one)).toMatchObject({ type: 'job.completed' });
    // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
    let log: any[] = [];
    await waitUntil(async () => {
      log = await docket.deliveries('callbacks', '?status=delivered');
      return log.length === 3;
    }, 'all are logged');
    expect(log.map(({ request }) => request.url)).toEqual([receiver.url, receiver.url, receiver.url]);
    const { body: repeated } = await docket.call(
      'POST',
      `/api/v1/webhooks/callbacks/deliveries/${log[0].deliveryId}/resend`,
    );
    expect(repeated.deliveryId).toBe(log[0].deliveryId);
    await came(receiver, 4);
  });

  it('that fails to the last never stops the callbacks of others', async () => {
    const bad = await docket.receiver((response) => void response.writeHead(410).end());
    const good = await docket.receiver();
    await update(['A'], { callbackUrl: bad.url });
    await came(bad);
    await update(['A'], { callbackUrl: good.url });
    await came(good);
    expect((await docket.call('GET', '/api/v1/webhooks/callbacks')).body).toMatchObject({ enabled: true, url: null });
  });
});

describe('secrets', () => {
  it('sign together with the old one for a day after a rotation', async () => {
    const receiver = await docket.receiver();
    const { webhookId, secret: old } = await docket.subscribe(receiver.url);
    const { body: rotated } = await docket.call('POST', `/api/v1/webhooks/${webhookId}/rotate`);
    expect(rotated.secret).not.toBe(old);
    expect(Date.parse(rotated.oldSecretUntil) - Date.now()).toBeGreaterThan(23.9 * 3_600_000);
    await update(['A']);
    await came(receiver);
    const [first] = receiver.received as [Received];
    for (const secret of [old, rotated.secret]) expect(verify(secret, first)).toMatchObject({ type: 'cases.updated' });
    await docket.engine.pool.query(
      sql`update docket.webhook_endpoints set old_secret_until = now() where old_secret is not null`,
    );
    await update(['A']);
    await came(receiver, 2);
    const second = receiver.received[1] as Received;
    expect(verify(rotated.secret, second)).toBeDefined();
    expect(() => verify(old, second)).toThrow();
  });
});

describe('by hand', () => {
  it('a test event goes to an endpoint, whatever it subscribes', async () => {
    const receiver = await docket.receiver();
    const { webhookId, secret } = await docket.subscribe(receiver.url, ['job.failed']);
    const { status, body } = await docket.call('POST', `/api/v1/webhooks/${webhookId}/test`);
    expect([status, body.event, body.status]).toEqual([202, 'webhook.test', 'pending']);
    await came(receiver);
    expect(verify(secret, receiver.received[0] as Received)).toMatchObject({
      type: 'webhook.test',
      data: { webhookId },
    });
    await docket.call('PATCH', `/api/v1/webhooks/${webhookId}`, { enabled: false });
    const refused = await docket.call('POST', `/api/v1/webhooks/${webhookId}/test`);
    expect(refused).toMatchObject({ status: 409, body: { code: 'constraint_violation' } });
  });

  it('what was delivered or given up is sent again, one by one or since a time', async () => {
    const receiver = await docket.receiver();
    const { webhookId } = await docket.subscribe(receiver.url);
    const since = new Date().toISOString();
    for (const id of ['A', 'B', 'C']) await update([id]);
    await came(receiver, 3);
    await waitUntil(
      async () => (await docket.deliveries(webhookId, '?status=delivered')).length === 3,
      'all are logged',
    );
    const [last] = await docket.deliveries(webhookId);
    await docket.call('POST', `/api/v1/webhooks/${webhookId}/deliveries/${last.deliveryId}/resend`);
    await came(receiver, 4);
    expect(receiver.received[3]?.headers['webhook-id']).toBe(last.deliveryId);
    await waitUntil(async () => (await docket.deliveries(webhookId, '?status=delivered')).length === 3, 'it is logged');
    const replay = (body: object) => docket.call('POST', `/api/v1/webhooks/${webhookId}/replay`, body as never);
    expect(await replay({ since, only: 'failed' })).toMatchObject({ status: 202, body: { replayed: 0 } });
    expect(await replay({ since })).toMatchObject({ status: 202, body: { replayed: 3 } });
    await came(receiver, 7);
    const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
    expect(new Set(ids.slice(4))).toEqual(new Set(ids.slice(0, 3)));
    await waitUntil(
      async () => (await docket.deliveries(webhookId))[0].attempts.length === 3,
      'all attempts of the first are in the log',
    );
  });
});

it('the first attempt follows a change or an end within a second, p95', async () => {
  const receiver = await docket.receiver();
  onTestFinished(receiver.stop);
  const arrivals = new Map<string, number>();
  receiver.answer = (response, { event }) => {
    arrivals.set(event.data.jobId, Date.now());
    response.writeHead(200).end();
  };
  await docket.subscribe(receiver.url, ['job.completed']);
  const times: number[] = [];
  for (let n = 0; n < 40; n++) {
    const { body } = await update(['A'], { mode: 'async' });
    await waitUntil(() => arrivals.has(body.jobId), 'it has come');
    const { body: job } = await docket.call('GET', `/api/v1/jobs/${body.jobId}`);
    times.push((arrivals.get(body.jobId) as number) - Date.parse(job.completedAt));
  }
  times.sort((a, b) => a - b);
  expect(times[37]).toBeLessThan(1_000);
});
