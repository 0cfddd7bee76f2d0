import { sql } from '@docket/engine';
import { PgBoss } from 'pg-boss';
import { expect, onTestFinished, test } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { startBackground, type Task } from '../src/background/background.ts';
import { expiryTask } from '../src/background/expiry.ts';
import { createMetrics } from '../src/http/metrics.ts';
import { parseEndpointId } from '../src/webhooks/ids.ts';
import { recordEvents } from '../src/webhooks/outbox.ts';
import { createCases, serve } from './served.ts';

function logTo(lines: string[]) {
  const log = (_details: object, message: string) => void lines.push(message);
  return { info: log, warn: log, error: log } as never;
}

/** As the schedule does it, without waiting for the next minute. */
async function sendNow(databaseUrl: string, task: string): Promise<void> {
  const boss = new PgBoss({ connectionString: databaseUrl, schema: 'pgboss', supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue(task, { policy: 'exclusive' });
  await boss.send(task);
  await boss.stop({ graceful: false });
}

test('what has expired is removed in the background, and counted', async () => {
  const server = await serve();
  onTestFinished(() => server.stop());
  await createCases(server, ['A', 'B']);
  const { rowCount } = await server.engine.pool.query(
    sql`update docket.jobs set expires_at = now() - interval '2 minutes'`,
  );
  expect(rowCount).toBe(1);
  await sendNow(server.databaseUrl, 'expiry');
  const lines: string[] = [];
  const metrics = createMetrics();
  const tasks = [expiryTask({ engine: server.engine, metrics, logger: logTo(lines), jobTtlSeconds: undefined })];
  const background = startBackground({ databaseUrl: server.databaseUrl, logger: logTo(lines), tasks });
  onTestFinished(() => background.stop());
  await waitUntil(() => lines.length > 0, 'the task has run');
  expect(lines).toEqual(['removed what has expired']);
  const { body } = await server.call('GET', '/api/v1/jobs');
  expect(body.items).toEqual([]);
  expect(await metrics.registry.metrics()).toContain('docket_removed_total{kind="jobs"} 1');
});

test('deliveries of webhooks are removed a week after their event, those that wait too', async () => {
  const server = await serve();
  onTestFinished(() => server.stop());
  const hook = { url: 'https://example.com/', events: ['cases.updated'] };
  const { body } = await server.call('POST', '/api/v1/webhooks', hook);
  await createCases(server, ['A']);
  await createCases(server, ['B']);
  const path = `/api/v1/webhooks/${body.webhookId}/deliveries`;
  const [kept, old] = (await server.call('GET', path)).body.items;
  await server.engine.pool.query(sql`
    update docket.webhook_deliveries set occurred_at = now() - interval '7 days 1 minute'
    where event_id = ${old.deliveryId.slice(4)}::uuid`);
  const metrics = createMetrics();
  const task = expiryTask({ engine: server.engine, metrics, logger: logTo([]), jobTtlSeconds: 60 });
  await task.run(new AbortController().signal);
  const left = (await server.call('GET', path)).body.items as { deliveryId: string }[];
  expect(left.map(({ deliveryId }) => deliveryId)).toEqual([kept.deliveryId]);
  expect(await metrics.registry.metrics()).toContain('docket_removed_total{kind="deliveries"} 1');
});

test('deliveries go with their endpoint, also one that a transaction was still writing', async () => {
  const server = await serve();
  onTestFinished(() => server.stop());
  const hook = { url: 'https://example.com/', events: ['cases.updated'] };
  const kept = (await server.call('POST', '/api/v1/webhooks', hook)).body.webhookId;
  const gone = (await server.call('POST', '/api/v1/webhooks', hook)).body.webhookId;
  await createCases(server, ['A']);
  await server.engine.pool.transaction(async (tx) => {
    await recordEvents(tx, {
      tenantId: 'default',
      jobId: 'job_00000000000070008000000000000000',
      changed: { collection: 'cases', ids: ['A'], traceparent: null },
      endedJob: undefined,
    });
    await server.call('DELETE', `/api/v1/webhooks/${gone}`);
    await tx.commit();
  });
  await createCases(server, ['B']);
  const metrics = createMetrics();
  const task = expiryTask({ engine: server.engine, metrics, logger: logTo([]), jobTtlSeconds: undefined });
  await task.run(new AbortController().signal);
  expect(await metrics.registry.metrics()).toContain('docket_removed_total{kind="deliveries"} 2');
  const { rows } = await server.engine.pool.query<{ endpoint_id: string; count: number }>(sql`
    select endpoint_id, count(*)::int as count from docket.webhook_deliveries group by 1`);
  expect(rows).toEqual([{ endpoint_id: parseEndpointId(kept), count: 3 }]);
});

test('it says so when it cannot start, and a task that fails ends nothing', async () => {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const lines: string[] = [];
  let runs = 0;
  const task: Task = {
    name: 'failing',
    cron: '* * * * *',
    run: async () => {
      runs += 1;
      throw new Error('as it happens');
    },
  };
  await sendNow(database.url, task.name);
  const away = new URL(database.url);
  away.port = '1';
  const early = startBackground({ databaseUrl: away.href, logger: logTo(lines), tasks: [task] });
  await waitUntil(() => lines.length > 0, 'it cannot start');
  await early.stop();
  expect(lines[0]).toBe('the background work could not start; it is tried again');
  lines.length = 0;
  const background = startBackground({ databaseUrl: database.url, logger: logTo(lines), tasks: [task] });
  await waitUntil(() => lines.length > 0, 'the task has failed');
  expect([runs, lines]).toEqual([1, ['a background task failed; it runs again at its next time']]);
  await background.stop();
  await background.stop();
});
