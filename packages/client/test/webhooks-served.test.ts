import { Docket, verifyWebhook, WebhookVerificationError } from '@docket/client';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { type Delivering, serveDelivering } from '../../server/test/webhooks/delivering.ts';
import { collect } from './served-docket.ts';

let served: Delivering;
let docket: Docket;
beforeAll(async () => {
  served = await serveDelivering();
  served.deliverer();
  docket = new Docket({ baseUrl: served.base, apiKey: served.authorization.replace('Bearer ', '') });
  await docket.cases.create({ caseId: 'CASE-1', title: 'One' });
});
afterAll(() => served?.stop());

it('endpoints are told the end of a job, and what they are told is verified by us and by others', async () => {
  const receiver = await served.receiver();
  const { webhookId, secret } = await docket.webhooks.create({ url: receiver.url, events: ['job.completed'] });
  const handle = await docket.cases.bulkUpdate([{ id: 'CASE-1', fields: { priority: 'high' } }], { mode: 'async' });
  await handle.done();
  await waitUntil(() => receiver.received.length === 1, 'the end is told');
  const { body, headers } = receiver.received[0] as (typeof receiver.received)[number];
  const event = await verifyWebhook<{ jobId: string }>(body, headers, secret);
  expect(event).toMatchObject({ type: 'job.completed', data: { jobId: handle.jobId } });
  expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual(event);
  await expect(verifyWebhook(`${body} `, headers, secret)).rejects.toThrow(WebhookVerificationError);

  await waitUntil(
    async () => (await collect(docket.webhooks.deliveries(webhookId, { status: 'delivered' }))).length === 1,
    'the delivery is in the log',
  );
  const [delivery] = await collect(docket.webhooks.deliveries(webhookId));
  expect(delivery).toMatchObject({
    event: 'job.completed',
    request: { method: 'POST', url: receiver.url, body },
    attempts: [{ responseStatus: 204, error: null }],
  });

  const rotated = await docket.webhooks.rotate(webhookId);
  await docket.webhooks.resend(webhookId, delivery?.deliveryId as string);
  await waitUntil(() => receiver.received.length === 2, 'it is told again');
  const again = receiver.received[1] as (typeof receiver.received)[number];
  expect(again.headers['webhook-id']).toBe(headers['webhook-id']);
  for (const one of [secret, rotated.secret]) await verifyWebhook(again.body, again.headers, one);

  await docket.webhooks.test(webhookId);
  await waitUntil(() => receiver.received.length === 3, 'the test event is told');
  expect(await docket.webhooks.update(webhookId, { enabled: false })).toMatchObject({ enabled: false });
  expect((await collect(docket.webhooks.list())).map((endpoint) => endpoint.webhookId)).toContain(webhookId);
  await docket.webhooks.delete(webhookId);
  await expect(docket.webhooks.get(webhookId)).rejects.toMatchObject({ status: 404 });
});

it('a job calls back, sent as an array or as a stream', async () => {
  const receiver = await served.receiver();
  const { secret } = await docket.webhooks.rotate('callbacks');
  const options = { mode: 'async', callbackUrl: receiver.url } as const;
  const item = { id: 'CASE-1', fields: { assignee: 'kim' } };
  const listed = await docket.cases.bulkUpdate([item], options);
  const streamed = await docket.cases.bulkUpdate(() => [item], { callbackUrl: receiver.url });
  await waitUntil(() => receiver.received.length === 2, 'both called back');
  const told = await Promise.all(
    receiver.received.map(({ body, headers }) => verifyWebhook<{ jobId: string }>(body, headers, secret)),
  );
  expect(told.map(({ data }) => data.jobId).sort()).toEqual([listed.jobId, streamed.jobId].sort());
});
