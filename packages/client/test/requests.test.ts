import { Docket, DocketError, NetworkError, TimeoutError } from '@docket/client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { FakeClock } from './fake-clock.ts';
import { job, json, options, problem, scriptedFetch, silence } from './scripted-fetch.ts';

const found = { caseId: 'C-1', title: 'A case', version: 1 };

function docketOn(...replies: Parameters<typeof scriptedFetch>) {
  const clock = new FakeClock();
  const script = scriptedFetch(...replies);
  return { clock, ...script, docket: new Docket({ ...options, fetch: script.fetch, clock }) };
}

describe('retries', () => {
  it('come after network errors, 429 and 502 to 504, after a random time that grows', async () => {
    const { docket, clock, left } = docketOn(
      new TypeError('fetch failed'),
      problem('x', 502),
      problem('x', 504),
      json(found),
    );
    await expect(docket.cases.get('C-1')).resolves.toEqual(found);
    expect(clock.sleeps).toEqual([250, 500, 1_000]);
    expect(left()).toBe(0);
  });

  it('wait as long as Retry-After says, in seconds or as a date', async () => {
    vi.useFakeTimers({ now: new Date('2026-05-04T09:00:00Z'), toFake: ['Date'] });
    const { docket, clock } = docketOn(
      problem('rate_limited', 429, { 'retry-after': '7' }),
      problem('overloaded', 503, { 'retry-after': 'Mon, 04 May 2026 09:00:20 GMT' }),
      problem('overloaded', 503, { 'retry-after': 'soon' }),
      json(found),
    );
    await docket.cases.get('C-1');
    expect(clock.sleeps).toEqual([7_000, 20_000, 1_000]);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('are not made when the server wants more than a minute of patience', async () => {
    const { docket, clock } = docketOn(problem('quota_exceeded', 429, { 'retry-after': '3600' }));
    await expect(docket.cases.get('C-1')).rejects.toMatchObject({ code: 'quota_exceeded', retryAfterMs: 3_600_000 });
    expect(clock.sleeps).toEqual([]);
  });

  it('keep the Idempotency-Key, which each write has of its own', async () => {
    const { docket, sent } = docketOn(
      new TypeError('fetch failed'),
      problem('idempotency_in_progress', 409, { 'retry-after': '1' }),
      json(found),
      json(found),
    );
    await docket.cases.patch('C-1', { title: 'B' });
    await docket.cases.patch('C-1', { title: 'B' });
    const keys = sent.map(({ headers }) => headers.get('idempotency-key'));
    expect(keys[0]).toMatch(/^"[0-9a-f-]{36}"$/);
    expect(keys.slice(0, 3)).toEqual([keys[0], keys[0], keys[0]]);
    expect(keys[3]).not.toBe(keys[0]);
  });

  it('take a key of the caller, also for batches', async () => {
    const answer = { jobId: job, status: 'completed', outcome: 'all_succeeded', summary: {}, results: [] };
    const { docket, sent } = docketOn(json(found), json(answer));
    await docket.cases.create({ title: 'B' }, { idempotencyKey: 'a "quoted" \\ key' });
    await docket.cases.bulkUpdate([{ caseId: 'C-1' }], { idempotencyKey: 'mine' });
    expect(sent.map(({ headers }) => headers.get('idempotency-key'))).toEqual(['"a \\"quoted\\" \\\\ key"', '"mine"']);
    expect(sent[1]?.body).toBe('{"items":[{"caseId":"C-1"}],"options":{}}');
  });

  it('are not made for other refusals, nor more often than allowed', async () => {
    const { docket, sent } = docketOn(
      problem('version_conflict', 409, { 'retry-after': '1' }),
      problem('internal', 500),
    );
    await expect(docket.cases.get('C-1')).rejects.toMatchObject({ code: 'version_conflict' });
    await expect(docket.cases.get('C-1')).rejects.toMatchObject({ code: 'internal' });
    expect(sent).toHaveLength(2);
    const clock = new FakeClock();
    const script = scriptedFetch(problem('overloaded', 503), problem('overloaded', 503), json(found));
    const impatient = new Docket({ ...options, fetch: script.fetch, clock, maxRetries: 1 });
    await expect(impatient.cases.get('C-1')).rejects.toMatchObject({ code: 'overloaded' });
    expect(script.left()).toBe(1);
  });

  it('of a removal whose answer was lost find it done', async () => {
    const { docket } = docketOn(problem('job_not_found', 404), new TypeError('lost'), problem('job_not_found', 404));
    await expect(docket.jobs.delete(job)).rejects.toMatchObject({ code: 'job_not_found' });
    await expect(docket.jobs.delete(job)).resolves.toBeUndefined();
  });

  it('are made when the answer breaks off in the middle', async () => {
    const torn = new ReadableStream({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode('{"caseId":'));
        controller.error(new Error('connection lost'));
      },
    });
    const { docket } = docketOn(new Response(torn), json(found));
    await expect(docket.cases.get('C-1')).resolves.toEqual(found);
  });
});

describe('time', () => {
  it('is limited for each attempt, and begins anew with each sign of life', async () => {
    const { docket, clock, sent } = docketOn(silence, silence, silence, silence);
    const read = docket.cases.get('C-1').catch((error: unknown) => error);
    for (let attempt = 1; attempt <= 4; attempt++) {
      await waitUntil(() => sent.length === attempt, 'the attempt is made');
      clock.advance(89_999);
      expect(sent).toHaveLength(attempt);
      clock.advance(1);
    }
    const error = await read;
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ code: 'timeout', message: 'GET /cases/C-1 got no answer within 90000 ms.' });
  });

  it('does not end an answer that still arrives', async () => {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    const slow = new ReadableStream<Uint8Array>({
      start: (own) => {
        controller = own;
      },
    });
    const { docket, clock, sent } = docketOn(({ signal }) => {
      signal.addEventListener('abort', () => controller?.error(signal.reason), { once: true });
      return new Response(slow);
    });
    const read = docket.cases.get('C-1');
    await waitUntil(() => sent.length === 1 && slow.locked, 'the answer is being read');
    for (const part of ['{"caseId"', ':', '"C-1"', '}']) {
      clock.advance(60_000);
      controller?.enqueue(new TextEncoder().encode(part));
      await new Promise(setImmediate);
    }
    controller?.close();
    await expect(read).resolves.toEqual({ caseId: 'C-1' });
  });

  it('is over for the caller when the signal aborts, with its reason and without a retry', async () => {
    const { docket, sent } = docketOn(silence);
    const controller = new AbortController();
    const read = docket.cases.get('C-1', { signal: controller.signal });
    await waitUntil(() => sent.length === 1, 'the request is sent');
    controller.abort(new Error('no longer wanted'));
    await expect(read).rejects.toThrow('no longer wanted');
    await expect(docket.cases.get('C-1', { signal: controller.signal })).rejects.toThrow('no longer wanted');
  });
});

describe('errors', () => {
  it('say all that the server said', async () => {
    const results = [
      { index: 0, id: 'C-1', status: 'failed', error: { code: 'not_found', message: 'm', field: null } },
    ];
    const errors = [{ pointer: '/items/0', message: 'Must be an object.' }];
    const { docket } = docketOn(problem('atomic_batch_failed', 422, {}, { results, errors, limit: 5, actual: 6 }));
    const error = await docket.cases
      .bulkUpdate([{ caseId: 'C-1' }], { atomic: true })
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DocketError);
    expect(error).toMatchObject({
      code: 'atomic_batch_failed',
      status: 422,
      requestId: 'req-1',
      title: 'Title of atomic_batch_failed',
      message: 'Detail of atomic_batch_failed',
      detail: 'Detail of atomic_batch_failed',
      errors,
      results,
      limit: 5,
      actual: 6,
    });
  });

  it('tell a failing network from its cause', async () => {
    const cause = new Error('connect ECONNREFUSED 127.0.0.1:1');
    const { docket } = docketOn(...Array.from({ length: 4 }, () => new TypeError('fetch failed', { cause })));
    const error = await docket.cases.get('C-1').catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(NetworkError);
    expect(error).toMatchObject({
      code: 'network_error',
      status: undefined,
      message: 'GET /cases/C-1 got no answer: connect ECONNREFUSED 127.0.0.1:1',
    });
  });

  it('name what answers but is no Docket server', async () => {
    const { docket } = docketOn(
      new Response('<html>', { headers: { 'content-type': 'text/html' } }),
      new Response('<h1>no</h1>', { status: 404 }),
    );
    await expect(docket.cases.get('C-1')).rejects.toMatchObject({ code: 'unreadable_answer' });
    await expect(docket.cases.get('C-1')).rejects.toMatchObject({ code: 'http_404', status: 404, requestId: null });
  });
});

describe('settings', () => {
  it('come from the environment where they are not given', async () => {
    vi.stubEnv('DOCKET_URL', 'https://from.example/docket/');
    vi.stubEnv('DOCKET_API_KEY', 'from-env');
    const { fetch, sent } = scriptedFetch(json(found));
    const urls: string[] = [];
    const docket = new Docket({
      fetch: (input, init) => {
        urls.push(String(input));
        return fetch(input, init);
      },
      headers: { 'x-team': 'support' },
    });
    await docket.cases.get('a/b c');
    expect(urls).toEqual(['https://from.example/docket/api/v1/cases/a%2Fb%20c']);
    expect(sent[0]?.headers.get('authorization')).toBe('Bearer from-env');
    expect(sent[0]?.headers.get('x-team')).toBe('support');
    vi.unstubAllEnvs();
  });

  it('that are missing are named', () => {
    expect(() => new Docket({ apiKey: 'x' })).toThrow(/no `baseUrl`.*DOCKET_URL/);
    expect(() => new Docket({ baseUrl: 'localhost:3000', apiKey: 'x' })).toThrow('"localhost:3000", which is no http');
    expect(() => new Docket({ baseUrl: 'http://a' })).toThrow(/no `apiKey`.*DOCKET_API_KEY/);
  });
});
