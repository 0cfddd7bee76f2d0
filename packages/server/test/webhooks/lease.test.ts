import { sql } from '@docket/engine';
import { afterEach, expect, it } from 'vitest';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { createCases } from '../served.ts';
import { ServerProcesses } from '../server-processes.ts';
import { serveDelivering } from './delivering.ts';
import { type Received, startReceiver } from './receiver.ts';

const processes = new ServerProcesses();
afterEach(() => processes.clear(), 60_000);

it('what a killed process was about to deliver is delivered by the next one', async () => {
  const receiver = await startReceiver(() => {});
  const env = {
    DOCKET_ADMIN_KEY: 'the-key-of-the-operator',
    DOCKET_SEED: 'none',
    DOCKET_WEBHOOKS_ALLOW_PRIVATE: 'true',
  };
  try {
    const first = await processes.start(env);
    await first.call('POST', '/api/v1/webhooks', { url: receiver.url, events: ['cases.updated', 'job.completed'] });
    const created = await first.call('POST', '/api/v1/cases', { caseId: 'A', title: 'A' });
    expect(created.status).toBe(201);
    const items = [{ caseId: 'A', title: 'B' }];
    const { body } = await first.call('POST', '/api/v1/cases/bulk-update', {
      items,
      options: { waitForCompletion: true, mode: 'async' },
    });
    expect(body.status).toBe('completed');
    await first.kill();
    const told = receiver.received.length;
    receiver.answer = (response) => void response.writeHead(200).end();
    const second = await processes.start(env);
    // why: a lease of the dead process would be waited for
    const sqlPool = await processes.embeddedSql(env);
    await sqlPool.query(
      'update docket.webhook_deliveries set next_attempt_at = now() where next_attempt_at is not null',
    );
    const seen = () => new Map(receiver.received.map(({ headers, event }) => [headers['webhook-id'], event.type]));
    await waitUntil(() => receiver.received.length >= told + 3, 'all three have come');
    expect([...seen().values()].sort()).toEqual(['cases.updated', 'cases.updated', 'job.completed']);
    const { rows } = await sqlPool.query('select count(*)::int as recorded from docket.webhook_deliveries');
    expect(rows[0].recorded).toBe(3);
    await second.stop();
  } finally {
    await receiver.stop();
  }
}, 60_000);

it('a delivery is held by one process at a time, until its lease is over', async () => {
  const docket = await serveDelivering();
  try {
    const receiver = await docket.receiver(() => {});
    const { webhookId } = await docket.subscribe(receiver.url);
    docket.deliverer({ timeoutMs: 60_000 });
    await createCases(docket, ['A']);
    await waitUntil(() => receiver.received.length === 1, 'it is being attempted');
    const other = await docket.receiver();
    await docket.call('PATCH', `/api/v1/webhooks/${webhookId}`, { url: other.url });
    docket.deliverer();
    await createCases(docket, ['B']);
    await waitUntil(() => other.received.length === 1, 'the other process delivers what is new');
    expect([receiver.received.length, other.received[0]?.event.data.ids]).toEqual([1, ['B']]);
    await docket.engine.pool.query(sql`
      update docket.webhook_deliveries set next_attempt_at = now() where next_attempt_at is not null`);
    const isA = ({ event }: Received) => event.data.ids[0] === 'A';
    await waitUntil(() => other.received.some(isA), 'the lease is over');
  } finally {
    await docket.stop();
  }
});

it('an attempt that a stopping process breaks off is left to the others at once', async () => {
  const docket = await serveDelivering();
  try {
    const receiver = await docket.receiver(() => {});
    const { webhookId } = await docket.subscribe(receiver.url);
    const stopping = docket.deliverer({ timeoutMs: 60_000 });
    await createCases(docket, ['A']);
    await waitUntil(() => receiver.received.length === 1, 'it is being attempted');
    await stopping.stop();
    const [{ status, nextAttemptAt, attempts }] = await docket.deliveries(webhookId);
    expect([status, attempts]).toEqual(['pending', []]);
    expect(Date.parse(nextAttemptAt)).toBeLessThanOrEqual(Date.now());
  } finally {
    await docket.stop();
  }
});
