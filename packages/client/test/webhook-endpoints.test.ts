import { Docket } from '@docket/client';
import { expect, it } from 'vitest';
import { json, options, problem, scriptedFetch } from './scripted-fetch.ts';
import { collect } from './served-docket.ts';

const webhookId = 'wh_0199c1d27c1e7b6a9f652f6f0c1f3a10';
const deliveryId = 'msg_0199c1d27c1e7b6a9f652f6f0c1f3a11';

it('asks for what the contract of webhooks has', async () => {
  const { fetch, sent, left } = scriptedFetch(
    json({ webhookId, secret: 'whsec_x' }, 201),
    json({ items: [{ webhookId }], nextCursor: 'more' }),
    json({ items: [{ webhookId: 'wh_2' }], nextCursor: null }),
    json({ webhookId }),
    json({ webhookId, enabled: false }),
    json({ webhookId, secret: 'whsec_y' }),
    json({ deliveryId }, 202),
    json({ items: [{ deliveryId }], nextCursor: null }),
    json({ deliveryId }, 202),
    json({ replayed: 17 }, 202),
    new Response(null, { status: 204 }),
  );
  const { webhooks } = new Docket({ ...options, fetch });
  expect((await webhooks.create({ url: 'https://d.example/h', events: ['job.failed'] })).secret).toBe('whsec_x');
  expect(await collect(webhooks.list())).toEqual([{ webhookId }, { webhookId: 'wh_2' }]);
  await webhooks.get(webhookId);
  expect((await webhooks.update(webhookId, { enabled: false })).enabled).toBe(false);
  expect((await webhooks.rotate(webhookId)).secret).toBe('whsec_y');
  await webhooks.test(webhookId);
  expect(await collect(webhooks.deliveries(webhookId, { status: 'failed' }))).toEqual([{ deliveryId }]);
  await webhooks.resend(webhookId, deliveryId);
  expect(await webhooks.replay(webhookId, { since: '2026-05-04T09:00:00Z', only: 'failed' })).toEqual({ replayed: 17 });
  await webhooks.delete(webhookId);
  expect(left()).toBe(0);
  expect(sent.map(({ method, path, body }) => [method, path, ...(body ? [JSON.parse(String(body))] : [])])).toEqual([
    ['POST', '/webhooks', { url: 'https://d.example/h', events: ['job.failed'] }],
    ['GET', '/webhooks'],
    ['GET', '/webhooks?cursor=more'],
    ['GET', `/webhooks/${webhookId}`],
    ['PATCH', `/webhooks/${webhookId}`, { enabled: false }],
    ['POST', `/webhooks/${webhookId}/rotate`],
    ['POST', `/webhooks/${webhookId}/test`],
    ['GET', `/webhooks/${webhookId}/deliveries?status=failed`],
    ['POST', `/webhooks/${webhookId}/deliveries/${deliveryId}/resend`],
    ['POST', `/webhooks/${webhookId}/replay`, { since: '2026-05-04T09:00:00Z', only: 'failed' }],
    ['DELETE', `/webhooks/${webhookId}`],
  ]);
});

it('does not make an endpoint twice', async () => {
  const { fetch, sent } = scriptedFetch(problem('overloaded', 503));
  const { webhooks } = new Docket({ ...options, fetch });
  await expect(webhooks.create({ url: 'https://d.example/h', events: [] })).rejects.toMatchObject({
    code: 'overloaded',
  });
  expect(sent).toHaveLength(1);
});
