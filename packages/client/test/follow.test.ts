import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Docket, type JobState, JobTimeoutError } from '@docket/client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { FakeClock } from './fake-clock.ts';
import { job } from './scripted-fetch.ts';

type Handler = (response: ServerResponse, request: IncomingMessage) => void;

let server: Server;
let docket: Docket;
let clock: FakeClock;
/** What is answered, request by request; the last one again and again. */
let script: Handler[];
let asked: string[];

beforeAll(async () => {
  server = createServer((request, response) => {
    const lastId = request.headers['last-event-id'];
    asked.push(`${request.url?.replace(`/api/v1/jobs/${job}`, '')}${lastId === undefined ? '' : ` after ${lastId}`}`);
    const handler = script.length > 1 ? script.shift() : script[0];
    handler?.(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  clock = new FakeClock();
  clock.chance = 1;
  asked = [];
  docket = new Docket({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, apiKey: 'key', clock });
});

const summary = { total: 4, succeeded: 3, failed: 1, notProcessed: 0 };
function stateOf(status: string, processed = 4): object {
  const outcome = status === 'completed' ? 'some_failed' : status === 'failed' ? 'all_failed' : null;
  const progress = { processed, total: 4, itemsPerSecond: null, etaSeconds: null };
  return { jobId: job, status, outcome, summary, progress, links: {} };
}
const end = { jobId: job, status: 'completed', outcome: 'some_failed', summary };

const event = (name: string, data: object, id: number) =>
  `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const stream =
  (...events: string[]): Handler =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    response.end(events.join(''));
  };
/** Events, and then a connection that is lost. */
const tornStream =
  (...events: string[]): Handler =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`: ${events.length} events\n\n${events.join('')}`, () => response.socket?.destroy());
  };
const answer =
  (body: object, status = 200): Handler =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
const refuse = (code: string, status: number): Handler => answer({ code, status, detail: code, title: code }, status);
const completed = answer(stateOf('completed'));
const running = answer(stateOf('running', 2));
const silent: Handler = () => {};

describe('the event stream', () => {
  it('tells the end, and how the job stands before it', async () => {
    script = [
      stream(
        event('progress', stateOf('running', 1), 1),
        event('failure', { index: 0, id: 'a', status: 'failed' }, 2),
        event('progress', stateOf('running', 3), 3),
        event('end', stateOf('completed'), 4),
      ),
    ];
    const states: JobState[] = [];
    const handle = docket.jobs.follow(job);
    await expect(handle.done({ onProgress: (state) => states.push(state) })).resolves.toEqual(end);
    expect(states.map(({ progress }) => progress.processed)).toEqual([1, 3, 4]);
    expect(handle.end).toEqual(end);
    await handle.done();
    expect(asked).toEqual(['/events']);
  });

  it('is resumed where it broke, as often as it tells something', async () => {
    const tellsOne = (id: number) => tornStream(event('progress', stateOf('running', id), id));
    script = [...[1, 2, 3, 4, 5].map(tellsOne), stream(event('end', stateOf('completed'), 6))];
    await expect(docket.jobs.follow(job).done({ timeoutMs: Infinity })).resolves.toEqual(end);
    expect(asked).toEqual(['/events', ...[1, 2, 3, 4, 5].map((id) => `/events after ${id}`)]);
  });

  it('that is over is asked about', async () => {
    script = [(response) => response.writeHead(204).end(), completed];
    await expect(docket.jobs.follow(job).done()).resolves.toEqual(end);
    expect(asked).toEqual(['/events', '/status']);
  });

  it('is kept alive by comments', async () => {
    let stream: ServerResponse | undefined;
    script = [
      (response) => {
        stream = response.writeHead(200, { 'content-type': 'text/event-stream' });
        stream.write(event('progress', stateOf('running', 0), 1));
      },
    ];
    let told = 0;
    const done = docket.jobs.follow(job).done({ timeoutMs: Infinity, onProgress: () => told++ });
    for (let beat = 1; beat <= 8; beat++) {
      await waitUntil(() => told >= beat, 'the event is read');
      clock.advance(40_000);
      stream?.write(`: still here\n\n${event('progress', stateOf('running', beat), beat + 1)}`);
    }
    await waitUntil(() => told > 8, 'the last event is read');
    stream?.end(event('end', stateOf('completed'), 10));
    await expect(done).resolves.toEqual(end);
    expect(asked).toEqual(['/events']);
  });
});

describe('without events', () => {
  it.each([404, 405, 406, 501])('the end is waited for by long poll (%i)', async (status) => {
    script = [refuse('route_not_found', status), completed];
    await expect(docket.jobs.follow(job).done()).resolves.toEqual(end);
    expect(asked).toEqual(['/events', '/status?wait=30']);
    expect(clock.sleeps).toEqual([]);
  });

  it('also where something in between makes another answer of them, or breaks them again and again', async () => {
    script = [answer({}), completed];
    await expect(docket.jobs.follow(job).done()).resolves.toEqual(end);
    expect(asked).toEqual(['/events', '/status?wait=30']);
    asked = [];
    script = [tornStream(), refuse('overloaded', 503), tornStream(), completed];
    await expect(docket.jobs.follow(job).done()).resolves.toEqual(end);
    expect(asked).toEqual(['/events', '/events', '/events', '/status?wait=30']);
  });

  it('long polls follow each other, in a hurry only when progress is wanted', async () => {
    const afterWait: Handler = (response, request) => {
      clock.advance(Number(new URL(request.url ?? '', 'http://x').searchParams.get('wait')) * 1_000);
      running(response, request);
    };
    script = [refuse('route_not_found', 404), afterWait, afterWait, completed];
    const states: JobState[] = [];
    await docket.jobs.follow(job).done({ timeoutMs: Infinity, onProgress: (state) => states.push(state) });
    expect(asked.slice(1)).toEqual(['/status?wait=2', '/status?wait=2', '/status?wait=2']);
    expect(states.map(({ status }) => status)).toEqual(['running', 'running', 'completed']);
    expect(clock.sleeps).toEqual([]);
  });

  it('a server that answers a long poll too early is not asked in a circle', async () => {
    script = [refuse('route_not_found', 404), running, running, running, completed];
    await docket.jobs.follow(job).done();
    expect(clock.sleeps).toEqual([2_000, 4_000, 8_000]);
  });

  it('and where long polls fail, it is asked after 2, 4, 8 s and so on', async () => {
    const gateway = refuse('http_504', 504);
    const lost: Handler = (response) => response.socket?.destroy();
    script = [refuse('not_acceptable', 406), gateway, lost, running, gateway, running, completed];
    await expect(docket.jobs.follow(job).done()).resolves.toEqual(end);
    expect(asked).toEqual(['/events', '/status?wait=30', '/status?wait=30', ...Array(4).fill('/status')]);
    expect(clock.sleeps).toEqual([2_000, 4_000, 2_000, 4_000, 8_000, 16_000]);
  });
});

describe('the wait', () => {
  it('ends after 60 s in all, and says that the job goes on', async () => {
    script = [refuse('route_not_found', 404), refuse('overloaded', 503), refuse('overloaded', 503), running];
    const error = await docket.jobs
      .follow(job)
      .done()
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(JobTimeoutError);
    expect(error).toMatchObject({ code: 'job_timeout', jobId: job, message: expect.stringContaining('It goes on') });
    expect(clock.sleeps.reduce((sum, ms) => sum + ms)).toBeGreaterThanOrEqual(60_000);
    expect(clock.sleeps.length).toBeLessThan(10);
  });

  it('ends also while a stream is silent', async () => {
    script = [silent];
    const done = docket.jobs
      .follow(job)
      .done({ timeoutMs: 5_000 })
      .catch((caught: unknown) => caught);
    await waitUntil(() => asked.length === 1, 'the stream is asked for');
    clock.advance(5_000);
    expect(await done).toMatchObject({ code: 'job_timeout', message: expect.stringContaining('within 5000 ms') });
  });

  it('ends when the signal aborts', async () => {
    script = [silent];
    const controller = new AbortController();
    const done = docket.jobs
      .follow(job)
      .done({ signal: controller.signal })
      .catch((caught: unknown) => caught);
    await waitUntil(() => asked.length === 1, 'the stream is asked for');
    controller.abort(new Error('gone home'));
    expect(await done).toMatchObject({ message: 'gone home' });
    await expect(docket.jobs.follow(job).done({ signal: controller.signal })).rejects.toThrow('gone home');
    expect(asked).toHaveLength(1);
  });

  it('ends with the refusal of the server', async () => {
    script = [refuse('unauthenticated', 401)];
    await expect(docket.jobs.follow(job).done()).rejects.toMatchObject({ code: 'unauthenticated' });
    script = [refuse('job_not_found', 404)];
    await expect(docket.jobs.follow(job).done()).rejects.toMatchObject({ code: 'job_not_found' });
  });

  it('tells why a job could not run', async () => {
    const error = { code: 'malformed_body', message: 'The upload broke off.' };
    script = [refuse('route_not_found', 404), answer(stateOf('failed')), answer({ ...stateOf('failed'), error })];
    await expect(docket.jobs.follow(job).done()).resolves.toMatchObject({ status: 'failed', error });
    expect(asked).toEqual(['/events', '/status?wait=30', '']);
  });
});
