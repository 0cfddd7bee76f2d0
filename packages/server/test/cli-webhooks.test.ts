import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { docket as command, environmentOf, type Ran } from './docket-command.ts';
import { createCases } from './served.ts';
import { type Delivering, serveDelivering } from './webhooks/delivering.ts';
import type { Received } from './webhooks/receiver.ts';

let served: Delivering;
let webhooks: (...args: string[]) => Promise<Ran>;
beforeAll(async () => {
  served = await serveDelivering();
  served.deliverer();
  webhooks = (...args) => command(['webhooks', ...args], environmentOf(served));
});
afterAll(() => served?.stop());

/** The JSON that a command answers with, once it has succeeded. */
async function ask(...args: string[]) {
  const ran = await webhooks(...args, '--json');
  expect([ran.code, ran.stderr], args.join(' ')).toEqual([0, '']);
  return ran.json();
}

it('docket webhooks does all that can be done with an endpoint, as JSON', async () => {
  const receiver = await served.receiver();
  const made = await ask('create', receiver.url, '--event', 'job.failed', '--event', 'job.cancelled', '--disabled');
  expect(made).toMatchObject({
    events: ['job.failed', 'job.cancelled'],
    enabled: false,
    secret: expect.stringMatching(/^whsec_/),
  });
  const id = made.webhookId as string;
  const { secret: _, ...shown } = made;
  expect(await ask('get', id)).toEqual(shown);
  expect(await ask('show', id)).toEqual(shown);
  expect(await ask('list')).toEqual([shown]);
  const to = `${receiver.url}/new`;
  const updated = await ask('update', id, '--to', to, '--event', 'cases.updated', '--envelope', 'cloudevents');
  expect(updated).toMatchObject({ url: to, events: ['cases.updated'], envelope: 'cloudevents', enabled: false });
  expect(await ask('update', id, '--envelope', 'standard')).toMatchObject({ url: to, envelope: 'standard' });
  expect((await ask('enable', id)).enabled).toBe(true);
  const { secret, oldSecretUntil } = await ask('rotate', id);
  expect(Date.parse(oldSecretUntil)).toBeGreaterThan(Date.now());

  const since = new Date().toISOString();
  expect(await ask('test', id)).toMatchObject({ event: 'webhook.test', status: 'pending' });
  await createCases(served, ['A']);
  await waitUntil(() => receiver.received.length === 2, 'both have come');
  for (const { body, headers, path } of receiver.received) {
    expect(path).toBe('/hook/new');
    new Webhook(secret).verify(body, headers as Record<string, string>);
  }
  await waitUntil(async () => (await served.deliveries(id, '?status=delivered')).length === 2, 'both are logged');
  const [delivery] = await ask('deliveries', id, '--event', 'cases.updated');
  expect(delivery.attempts).toMatchObject([{ responseStatus: 204 }]);
  expect(await ask('deliveries', id, '--status', 'failed')).toEqual([]);
  expect(await ask('resend', id, delivery.deliveryId)).toMatchObject({ deliveryId: delivery.deliveryId });
  await waitUntil(() => receiver.received.length === 3, 'it has come again');
  await waitUntil(async () => (await served.deliveries(id, '?status=delivered')).length === 2, 'it is logged');
  expect(await ask('replay', id, '--since', since, '--only', 'failed')).toEqual({ webhookId: id, replayed: 0 });
  expect(await ask('replay', id, '--since', since)).toEqual({ webhookId: id, replayed: 2 });
  await waitUntil(() => receiver.received.length === 5, 'both have come again');
  const [first, , again] = receiver.received as [Received, Received, Received];
  expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(2);
  expect(again.headers['webhook-id']).toBe(delivery.deliveryId);
  expect(first.headers['webhook-id']).not.toBe(again.headers['webhook-id']);

  expect((await ask('disable', id)).enabled).toBe(false);
  expect(await ask('delete', id)).toEqual({ webhookId: id, deleted: true });
  expect(await ask('list')).toEqual([]);
}, 60_000);

it('docket webhooks is for people too, and says what is wrong', async () => {
  const made = await webhooks('create', 'http://127.0.0.1:9/hook');
  expect(made.stdout).toMatch(/^secret +whsec_\S+$/m);
  expect(made.stdout).toMatch(/^events +job\.completed, job\.failed, job\.cancelled$/m);
  expect([made.code, made.stderr]).toEqual([0, 'The secret is shown only this once.\n']);
  const id = /wh_\w+/.exec(made.stdout)?.[0] as string;
  expect((await webhooks('list')).stdout).toMatch(/^wh_\w+ +good +job\.completed, .* http:\/\/127\.0\.0\.1:9\/hook$/m);
  await webhooks('disable', id);
  expect((await webhooks('list')).stdout).toMatch(/^wh_\w+ +disabled /m);
  for (const [args, told] of [
    [['create', 'gopher://example.com/'], 'not sent to this URL'],
    [
      ['create', 'http://127.0.0.1:9/', '--event', 'nothing'],
      'There is no event "nothing". The events are: job.completed',
    ],
    [['create', 'http://127.0.0.1:9/', '--envelope', 'paper'], 'Allowed choices are standard, cloudevents'],
    [['update', id], 'say what is to change'],
    [['test', id], 'The endpoint is disabled'],
    [['get', 'wh_0'], 'There is no webhook endpoint "wh_0"'],
    [['resend', id, 'msg_0'], 'The endpoint has no delivery "msg_0"'],
    [['replay', id], "required option '--since <time>' not specified"],
    [['replay', id, '--since', 'yesterday'], '/since'],
    [['delete', 'callbacks'], 'The callbacks of jobs have a secret and a log of deliveries'],
  ] as const) {
    const { code, stdout, stderr } = await webhooks(...args);
    expect([code, stdout, stderr], args.join(' ')).toEqual([1, '', expect.stringContaining(told)]);
  }
  const removed = await webhooks('delete', id);
  expect([removed.code, removed.stdout]).toEqual([0, `${id} is removed.\n`]);
}, 60_000);
