import type { ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { sql } from '@docket/engine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { createCases } from '../served.ts';
import { type Delivering, serveDelivering } from './delivering.ts';
import { type Answer, accept, type Receiver, startReceiver } from './receiver.ts';

const timeoutMs = 300;
let docket: Delivering;
beforeAll(async () => {
  docket = await serveDelivering({ timeoutMs });
  docket.deliverer();
  await createCases(docket, ['A']);
});
afterAll(() => docket?.stop());

let titles = 0;
const change = () => docket.call('PATCH', '/api/v1/cases/A', { title: `Title ${titles++}` });
const read = async (webhookId: string) => (await docket.call('GET', `/api/v1/webhooks/${webhookId}`)).body;
const until = (webhookId: string, status: string) =>
  waitUntil(async () => (await docket.deliveries(webhookId))[0]?.status === status, `the delivery is ${status}`);

const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(code, headers).end('as it happens');
const raw =
  (text: string, end = true): Answer =>
  ({ socket }) => {
    socket?.write(text);
    if (end) socket?.end();
  };
/** Sends a piece as often as the receiver is ready for one, until the connection is gone. */
const drip =
  (head: string, piece: string): Answer =>
  ({ socket }) => {
    socket?.write(head);
    const timer = setInterval(() => socket?.write(piece), 20);
    socket?.on('close', () => clearInterval(timer));
  };

const elsewhere = 'http://127.0.0.1:9/';
const badAnswers: [string, Answer, RegExp][] = [
  ['answers 500', status(500), /answered 500/],
  ['answers 503 with Retry-After', status(503, { 'retry-after': '0' }), /answered 503/],
  ['answers 429 with Retry-After', status(429, { 'retry-after': '0' }), /answered 429/],
  ['answers 400', status(400), /answered 400/],
  ['answers 404', status(404), /answered 404/],
  ['answers 301', status(301, { location: elsewhere }), /redirects are not followed/],
  ['answers 302', status(302, { location: elsewhere }), /redirects are not followed/],
  ['answers 307', status(307, { location: elsewhere }), /redirects are not followed/],
  ['answers 304', status(304), /answered 304/],
  ['never answers', () => {}, /no answer within/],
  ['drips the head of its answer', drip('HTTP/1.1 200 OK\r\n', 'x-slow: 1\r\n'), /no answer within/],
  ['only says 100 Continue', drip('', 'HTTP/1.1 100 Continue\r\n\r\n'), /no answer within/],
  ['resets the connection', ({ socket }) => void socket?.resetAndDestroy(), /could not be reached/],
  ['closes the connection', ({ socket }) => void socket?.end(), /could not be reached/],
  ['speaks no HTTP', raw('220 mail.example.com ESMTP\r\n'), /could not be reached/],
  ['sends a broken head', raw('HTTP/1.1 200 OK\r\nno header\r\n\r\n'), /could not be reached/],
  ['sends a huge head', raw(`HTTP/1.1 200 OK\r\nx-large: ${'x'.repeat(100_000)}\r\n\r\n`), /could not be reached/],
  ['breaks off within the head', raw('HTTP/1.1 20'), /could not be reached/],
  ['answers 500 with an endless body', drip('HTTP/1.1 500 No\r\n\r\n', 'x'.repeat(10_000)), /answered 500/],
  [
    'asks for a change of protocol',
    raw('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    /no answer within|could not be/,
  ],
];

describe('a receiver that', () => {
  it.each(badAnswers)('%s gets the event again', async (_, answer, reason) => {
    const receiver = await docket.receiver((response, received) => {
      receiver.answer = accept;
      answer(response, received);
    });
    const { webhookId } = await docket.subscribe(receiver.url);
    await change();
    await until(webhookId, 'delivered');
    const [delivery] = await docket.deliveries(webhookId);
    expect(delivery.attempts).toMatchObject([
      { error: expect.stringMatching(reason) },
      { responseStatus: 204, error: null },
    ]);
    const [first, second] = receiver.received;
    expect(receiver.received).toHaveLength(2);
    expect([second?.body, second?.headers['webhook-id']]).toEqual([first?.body, first?.headers['webhook-id']]);
    expect(await read(webhookId)).toMatchObject({ enabled: true, failingSince: null });
    await docket.call('DELETE', `/api/v1/webhooks/${webhookId}`);
  });

  it('has a certificate that nobody vouches for is not trusted', async () => {
    const receiver = await docket.receiver(accept, { tls: true });
    const { webhookId } = await docket.subscribe(receiver.url);
    await change();
    await until(webhookId, 'failed');
    const [{ attempts }] = await docket.deliveries(webhookId);
    expect(attempts).toHaveLength(10);
    expect(attempts[0].error).toMatch(/self-signed certificate/);
    expect(receiver.received).toEqual([]);
  });

  it('is not there, or accepts connections and is silent, is tried to the last, and then disabled, visibly', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => void sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    for (const url of ['http://127.0.0.1:9/', `https://127.0.0.1:${port}/`]) {
      const { webhookId } = await docket.subscribe(url);
      await change();
      await until(webhookId, 'failed');
      expect(await read(webhookId)).toMatchObject({
        enabled: false,
        disabledReason: expect.stringContaining('The last of 10 attempts at a delivery failed'),
        failingSince: expect.any(String),
      });
    }
    for (const socket of sockets) socket.destroy();
    silent.close();
  });

  it('answers with a huge body, or one that never ends, has received the event', async () => {
    const piece = 'x'.repeat(60_000);
    for (const answer of [
      raw(`HTTP/1.1 200 OK\r\n\r\n${piece.repeat(20)}`),
      drip('HTTP/1.1 200 OK\r\n\r\n', piece),
      drip('HTTP/1.1 202 OK\r\n\r\n', '\0'),
    ]) {
      const receiver = await docket.receiver(answer);
      const { webhookId } = await docket.subscribe(receiver.url);
      await change();
      await until(webhookId, 'delivered');
      const [{ attempts }] = await docket.deliveries(webhookId);
      expect(attempts).toHaveLength(1);
      expect(attempts[0].responseBody.length).toBeLessThanOrEqual(1_024);
      await docket.call('DELETE', `/api/v1/webhooks/${webhookId}`);
    }
  });

  it('answers 410 gets nothing more until it is enabled again', async () => {
    const receiver = await docket.receiver(status(410));
    const { webhookId } = await docket.subscribe(receiver.url);
    await change();
    await until(webhookId, 'failed');
    expect(await read(webhookId)).toMatchObject({ enabled: false, disabledReason: 'The receiver answered 410 Gone.' });
    await change();
    expect(await docket.deliveries(webhookId)).toHaveLength(1);
    receiver.answer = accept;
    await docket.call('PATCH', `/api/v1/webhooks/${webhookId}`, { enabled: true });
    expect(await read(webhookId)).toMatchObject({ enabled: true, disabledReason: null, failingSince: null });
    const since = '2020-01-01T00:00:00Z';
    await docket.call('POST', `/api/v1/webhooks/${webhookId}/replay`, { since, only: 'failed' });
    await change();
    await waitUntil(() => receiver.received.length === 3, 'it got what it missed, and what is new');
  });
});

it('one delivery that is refused to the last does not disable an endpoint that receives others', async () => {
  let refused = 0;
  const receiver = await docket.receiver((response, { event }) => {
    const poison = event.data.ids.includes('POISON');
    response.writeHead(poison ? 422 : 200);
    refused += poison ? 1 : 0;
    // why: then the other one is due before this one is again
    if (poison && refused === 5) void change().then(() => response.end());
    else response.end();
  });
  const { webhookId } = await docket.subscribe(receiver.url);
  await createCases(docket, ['POISON']);
  await waitUntil(async () => (await docket.deliveries(webhookId, '?status=failed')).length === 1, 'it was given up');
  expect(await read(webhookId)).toMatchObject({ enabled: true, disabledReason: null });
  expect([refused, receiver.received.length]).toEqual([10, 11]);
});

it('Retry-After puts the next attempt off', async () => {
  const receiver = await docket.receiver(status(429, { 'retry-after': '3600' }));
  const { webhookId } = await docket.subscribe(receiver.url);
  await change();
  await waitUntil(async () => (await docket.deliveries(webhookId))[0]?.attempts.length === 1, 'it was attempted');
  const [{ nextAttemptAt, attempts, status: state }] = await docket.deliveries(webhookId);
  expect(state).toBe('pending');
  expect((Date.parse(nextAttemptAt) - Date.parse(attempts[0].at)) / 1_000).toBeGreaterThanOrEqual(3_600);
  await docket.call('DELETE', `/api/v1/webhooks/${webhookId}`);
});

it('hundreds of receivers that are dead hold up nobody else', async () => {
  const crowd = await serveDelivering();
  let attempts = 0;
  const dead = await crowd.receiver(() => {
    attempts += 1;
  });
  const quick = await crowd.receiver();
  try {
    await crowd.subscribe(quick.url);
    await crowd.engine.pool.query(sql`
      insert into docket.webhook_endpoints (tenant_id, endpoint_id, url, events, envelope, enabled, secret)
      select 'default', gen_random_uuid(), ${dead.url}, '{cases.updated}', 'standard', true, 'whsec_' from generate_series(1, 300)`);
    crowd.deliverer({ timeoutMs: 60_000 });
    for (let n = 0; n < 5; n++) await createCases(crowd, [`DEAD-${n}`]);
    await waitUntil(() => attempts === 300, 'each has its first attempt');
    const begun = Date.now();
    for (let n = 0; n < 30; n++) await createCases(crowd, [`QUICK-${n}`]);
    await waitUntil(() => quick.received.length === 35, 'the quick one has everything');
    expect(Date.now() - begun).toBeLessThan(10_000);
    expect(attempts).toBe(300);
  } finally {
    await crowd.stop();
  }
});

it('attempts at a receiver become more while it answers promptly, and one again when it fails', async () => {
  const narrow = await serveDelivering({ delays: [3_600] });
  const waiting: ServerResponse[] = [];
  let hold = true;
  const receiver = await narrow.receiver((response, received) => {
    if (hold) waiting.push(response);
    else accept(response, received);
  });
  const some = async (name: string) => {
    for (let n = 0; n < 20; n++) await createCases(narrow, [`${name}-${n}`]);
  };
  const answer = (code: number) => {
    for (const response of waiting.splice(0)) response.writeHead(code).end();
  };
  const underWay = async () => {
    const { rows } = await narrow.engine.pool.query<{ count: number }>(sql`
      select count(*)::int as count from docket.webhook_deliveries where tries = 0 and next_attempt_at > now()`);
    return rows[0]?.count;
  };
  try {
    await narrow.subscribe(receiver.url);
    await some('FIRST');
    narrow.deliverer();
    await waitUntil(() => waiting.length === 1, 'the first attempt is made');
    expect(await underWay()).toBe(1);
    hold = false;
    answer(200);
    await waitUntil(() => receiver.received.length === 20, 'all have come');
    hold = true;
    await some('SECOND');
    await waitUntil(() => waiting.length === 8, 'eight are under way');
    expect(await underWay()).toBe(8);
    answer(503);
    await waitUntil(() => waiting.length === 1, 'the next attempt is made');
    await waitUntil(async () => (await underWay()) === 1, 'it is the only one');
  } finally {
    await narrow.stop();
  }
});

it('a URL that leads to a private address is refused at the time of the attempt, and the log says so', async () => {
  const strict = await serveDelivering({ delays: [] });
  const receiver: Receiver = await startReceiver();
  try {
    const { webhookId } = await strict.subscribe(receiver.url);
    strict.deliverer({ policy: { allowPrivate: false, ports: [Number(new URL(receiver.url).port)] } });
    await createCases(strict, ['A']);
    await waitUntil(async () => (await strict.deliveries(webhookId))[0]?.status === 'failed', 'it was given up');
    const [{ attempts }] = await strict.deliveries(webhookId);
    expect(attempts[0].error).toMatch(/The URL is refused. It leads to the address 127.0.0.1 \(loopback\)/);
    expect(receiver.received).toEqual([]);
    const { rows } = await strict.engine.pool.query(sql`select enabled from docket.webhook_endpoints`);
    expect(rows).toEqual([{ enabled: false }]);
  } finally {
    await receiver.stop();
    await strict.stop();
  }
});
