import { Docket } from '@docket/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeClock } from './fake-clock.ts';
import { job, options, problem, scriptedFetch } from './scripted-fetch.ts';
import { collect, type ServedDocket, serveDocket } from './served-docket.ts';

/* Files go up and come down as they are. */

let served: ServedDocket;
beforeAll(async () => {
  served = await serveDocket();
});
afterAll(() => served?.stop());

const rows = ['F-1,First,row 1', 'F-2,Second,row 2', 'F-1,Again,row 3'];
const csv = ['caseId,title,ref', ...rows].join('\n');
const encoder = new TextEncoder();
const textOf = async (bytes: AsyncIterable<Uint8Array>) => Buffer.concat(await collect(bytes)).toString();

describe('a file', () => {
  it('is created from, piece by piece, empty ones too', async () => {
    const pieces = ['', csv.slice(0, 10), encoder.encode(csv.slice(10)), new Uint8Array()];
    const handle = await served.docket.cases.bulkCreate({ type: 'text/csv', content: pieces }, { label: 'file' });
    expect((await handle.done()).summary).toMatchObject({ total: 3, succeeded: 2, failed: 1 });
    expect((await collect(handle.failed())).map(({ ref }) => ref)).toEqual(['row 3']);
  });

  it('is updated from, compressed, and where no stream can be sent', async () => {
    const content = () => [JSON.stringify({ caseId: 'F-1', assignee: 'kim' })];
    for (const streamUploads of [true, false]) {
      const docket = served.client({ streamUploads });
      const handle = await docket.cases.bulkUpdate({ type: 'application/x-ndjson', content }, { gzip: true });
      expect((await handle.done()).outcome).toBe('all_succeeded');
    }
  });

  it('is opened again when the network fails, if it can be', async () => {
    let opened = 0;
    let left = 1;
    const docket = served.client({
      clock: new FakeClock(),
      fetch: async (input, init) => {
        const response = await fetch(input, init);
        if (init?.method !== 'POST' || left-- <= 0) return response;
        await response.text();
        throw new TypeError('the answer was lost');
      },
    });
    const content = () => {
      opened += 1;
      return [csv];
    };
    const handle = await docket.cases.bulkUpdate({ type: 'text/csv', content }, { dryRun: true });
    expect((await handle.done()).summary).toMatchObject({ total: 3, succeeded: 3 });
    expect(opened).toBe(2);
  });
});

describe('results as a file', () => {
  it('come as CSV and NDJSON, filtered', async () => {
    const handle = await served.docket.cases.bulkUpdate([
      { caseId: 'F-1', assignee: 'lee', ref: 'one' },
      { caseId: 'GONE', assignee: 'lee', ref: 'two' },
    ]);
    const whole = (await textOf(served.docket.jobs.download(handle.jobId, 'text/csv'))).trim().split('\r\n');
    expect(whole).toHaveLength(3);
    expect(whole[0]).toMatch(/^caseId,/);
    const failed = await textOf(
      served.docket.jobs.download(handle.jobId, 'application/x-ndjson', { status: 'failed' }),
    );
    expect(JSON.parse(failed)).toMatchObject({ id: 'GONE', ref: 'two', error: { code: 'not_found' } });
    expect(await textOf(served.docket.jobs.download(handle.jobId, 'application/x-ndjson', { code: 'internal' }))).toBe(
      '',
    );
  });

  it('are refused as other answers are', async () => {
    const { fetch } = scriptedFetch(problem('job_not_found', 404));
    const docket = new Docket({ ...options, fetch });
    await expect(collect(docket.jobs.download(job, 'text/csv'))).rejects.toMatchObject({ code: 'job_not_found' });
  });

  it('wait for a slow reader, and not for a silent server', async () => {
    const clock = new FakeClock();
    let source: ReadableStreamDefaultController<Uint8Array> | undefined;
    const fetch: typeof globalThis.fetch = async (_, init) => {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          source = controller;
        },
      });
      init?.signal?.addEventListener('abort', () => source?.error(init.signal?.reason));
      return new Response(body);
    };
    const bytes = new Docket({ ...options, fetch, clock }).jobs.download(job, 'text/csv');
    const read = async () => Buffer.from((await bytes.next()).value ?? []).toString();
    const first = read();
    await settle();
    source?.enqueue(encoder.encode('first'));
    expect(await first).toBe('first');
    source?.enqueue(encoder.encode('second'));
    await settle();
    clock.advance(500_000);
    expect(await read()).toBe('second');
    const silent = read();
    await settle();
    clock.advance(91_000);
    await expect(silent).rejects.toMatchObject({ code: 'timeout' });
  });
});

/** Until all that can happen by itself has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
