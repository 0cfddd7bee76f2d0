import { Docket, DocketError, NetworkError } from '@docket/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { FakeClock } from './fake-clock.ts';
import { job, json, options, problem, scriptedFetch } from './scripted-fetch.ts';
import { collect, type ServedDocket, serveDocket } from './served-docket.ts';

let served: ServedDocket;
beforeAll(async () => {
  served = await serveDocket();
  const all = Array.from({ length: 1_500 }, (_, index) => ({ caseId: `U-${index}`, title: `Case ${index}` }));
  const handle = await served.docket.cases.bulkCreate(all);
  expect((await handle.done()).summary.succeeded).toBe(1_500);
});
afterAll(() => served?.stop());

let round = 0;
/** Updates that change each case. */
function updates(count: number): { caseId: string; assignee: string; ref: string }[] {
  round += 1;
  return Array.from({ length: count }, (_, at) => ({
    caseId: `U-${at}`,
    assignee: `somebody ${round}`,
    ref: `line ${at + 1}`,
  }));
}
async function* oneByOne<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  for (const item of items) {
    await Promise.resolve();
    yield item;
  }
}

/** A client that tells what it sends, and may lose answers. */
function watchedClient({ lose = 0, ...own }: { lose?: number; streamUploads?: boolean } = {}) {
  const uploads: {
    type: string | null;
    encoding: string | null;
    key: string | null;
    isStream: boolean;
    query: string;
  }[] = [];
  let left = lose;
  const docket = served.client({
    ...own,
    clock: new FakeClock(),
    fetch: async (input, init) => {
      const url = new URL(String(input));
      if (!/bulk-/.test(url.pathname)) return fetch(input, init);
      const headers = new Headers(init?.headers);
      uploads.push({
        type: headers.get('content-type'),
        encoding: headers.get('content-encoding'),
        key: headers.get('idempotency-key'),
        isStream: init?.body instanceof ReadableStream,
        query: url.search,
      });
      const response = await fetch(input, init);
      if (left-- <= 0) return response;
      await response.text();
      throw new TypeError('the answer was lost');
    },
  });
  return { docket, uploads };
}
const ndjson = 'application/x-ndjson';

describe('items go up as a stream', () => {
  it('when an array has more than 1,000 of them', async () => {
    const { docket, uploads } = watchedClient();
    const items = [...updates(1_500), { caseId: 'none', assignee: 'x', ref: 'the last' }];
    const handle = await docket.cases.bulkUpdate(items, {
      label: 'big',
      maxErrors: 10,
      mode: 'async',
      waitForCompletion: true,
    });
    expect(await handle.done()).toMatchObject({ summary: { total: 1_501, succeeded: 1_500, failed: 1 } });
    expect(uploads).toEqual([
      { type: ndjson, encoding: null, key: expect.any(String), isStream: true, query: '?maxErrors=10&label=big' },
    ]);
    const refs = await collect(handle.results());
    expect(refs.map(({ ref }) => ref)).toEqual(items.map(({ ref }) => ref));
    expect((await collect(handle.failed())).map(({ ref }) => ref)).toEqual(['the last']);
  });

  it('when they come from iterables, whatever their number', async () => {
    const items = updates(30);
    const sources = [oneByOne(items), new Set(items), items.values(), () => oneByOne(items)];
    for (const source of sources) {
      const { docket, uploads } = watchedClient();
      const preview = await docket.cases.bulkUpdate(source, { dryRun: true, priority: 'low' });
      expect((await preview.done()).summary).toMatchObject({ total: 30, succeeded: 30 });
      expect(uploads).toMatchObject([{ isStream: true, query: '?dryRun=true&priority=low' }]);
    }
  });

  it('when they are many bytes', async () => {
    const { docket, uploads } = watchedClient();
    const items = Array.from({ length: 300 }, (_, at) => ({ caseId: `U-${at}`, data: { text: 'x'.repeat(30_000) } }));
    const handle = await docket.cases.bulkUpdate(items);
    expect((await handle.done()).outcome).toBe('all_succeeded');
    expect(uploads).toMatchObject([{ type: ndjson }]);
  });

  it('compressed, where that is asked for', async () => {
    for (const streamUploads of [true, false]) {
      const { docket, uploads } = watchedClient({ streamUploads });
      const handle = await docket.cases.bulkUpdate(updates(1_200), { gzip: true });
      expect((await handle.done()).summary.succeeded).toBe(1_200);
      expect(uploads).toMatchObject([{ encoding: 'gzip', isStream: streamUploads }]);
    }
  });

  it('and as a Blob where the runtime sends no streams', async () => {
    const { docket, uploads } = watchedClient({ streamUploads: false, lose: 1 });
    const handle = await docket.cases.bulkUpdate(oneByOne(updates(1_200)));
    expect((await handle.done()).summary.succeeded).toBe(1_200);
    expect(uploads.map(({ isStream, type }) => [isStream, type])).toEqual([
      [false, ndjson],
      [false, ndjson],
    ]);
  });
});

describe('options that a stream cannot keep', () => {
  it('keep an array in one JSON body', async () => {
    const { docket, uploads } = watchedClient();
    const refusal = await docket.cases.bulkUpdate(updates(1_001), { atomic: true }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'batch_too_large', limit: 1_000, actual: 1_001 });
    expect(uploads).toMatchObject([{ type: 'application/json' }]);
  });

  it('are refused by name for an iterable', async () => {
    const { docket, uploads } = watchedClient();
    const items: Iterable<{ caseId: string }> = new Set([{ caseId: 'U-1' }]);
    await expect(docket.cases.bulkUpdate(items, { atomic: true } as object)).rejects.toThrow(/`atomic` is for batches/);
    await expect(docket.cases.bulkUpdate(items, { mode: 'sync' } as object)).rejects.toThrow(TypeError);
    expect(uploads).toEqual([]);
  });
});

describe('an upload whose answer is lost', () => {
  it('is sent again under its key, and applied once', async () => {
    const items = updates(1_300);
    for (const source of [items, () => oneByOne(items)]) {
      const { docket, uploads } = watchedClient({ lose: 2 });
      const before = (await collect(docket.jobs.list())).length;
      const handle = await docket.cases.bulkUpdate(source);
      expect((await handle.done()).summary.succeeded).toBe(1_300);
      expect(uploads).toHaveLength(3);
      expect(new Set(uploads.map(({ key }) => key)).size).toBe(1);
      expect((await collect(docket.jobs.list())).length).toBe(before + 1);
    }
  });

  it('is not sent again when its source gives its items once', async () => {
    const { docket, uploads } = watchedClient({ lose: 1 });
    const items = updates(50);
    const key = 'upload of monday';
    const lost = await docket.cases
      .bulkUpdate(oneByOne(items), { idempotencyKey: key })
      .catch((error: unknown) => error);
    expect(lost).toBeInstanceOf(NetworkError);
    expect(uploads).toHaveLength(1);
    const again = await docket.cases.bulkUpdate(oneByOne(items), { idempotencyKey: key });
    expect((await again.done()).summary.succeeded).toBe(50);
    const keys = await collect(docket.cases.history('U-7'));
    expect(keys.filter(({ after }) => after.assignee === items[7]?.assignee)).toHaveLength(1);
  });

  it('is sent again when nothing of its source was read', async () => {
    const script = scriptedFetch(new TypeError('no connection'), problem('overloaded', 503), async ({ body }) => {
      const text = await new Response(body as ReadableStream).text();
      return json({ jobId: job, status: 'pending', outcome: null, summary: {}, text }, 202);
    });
    const docket = new Docket({ ...options, fetch: script.fetch, clock: new FakeClock() });
    const handle = await docket.cases.bulkUpdate(oneByOne([{ caseId: 'a' }]));
    expect(handle.jobId).toBe(job);
    expect(script.sent).toHaveLength(3);
  });
});

describe('an upload that fails', () => {
  it('because of its source, rejects with what the source threw, and applies nothing', async () => {
    for (const streamUploads of [true, false]) {
      const { docket, uploads } = watchedClient({ streamUploads });
      const before = await docket.cases.get('U-1');
      let closed = false;
      async function* broken() {
        try {
          yield { caseId: 'U-1', assignee: 'nobody' };
          throw new RangeError('row 2 of the spreadsheet');
        } finally {
          closed = true;
        }
      }
      await expect(docket.cases.bulkUpdate(() => broken())).rejects.toThrow(RangeError);
      expect(closed).toBe(true);
      expect(uploads).toHaveLength(streamUploads ? 1 : 0);
      expect(await docket.cases.get('U-1')).toEqual(before);
    }
  });

  it('because it is refused, says so, and reads no further', async () => {
    let read = 0;
    let closed = false;
    async function* endless() {
      try {
        for (;;) {
          read += 1;
          yield { caseId: 'U-1', data: { text: 'x'.repeat(10_000) } };
        }
      } finally {
        closed = true;
      }
    }
    const wrongKey = served.client({ apiKey: 'a-wrong-key-of-length', maxRetries: 0 });
    const error = await wrongKey.cases.bulkUpdate(endless()).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DocketError);
    expect(error).toMatchObject({ code: 'unauthenticated' });
    await waitUntil(() => closed, 'the source is closed');
    expect(read).toBeLessThan(20_000);
    const { docket } = watchedClient();
    await expect(docket.cases.bulkUpdate(new Set<{ caseId: string }>())).rejects.toMatchObject({ code: 'batch_empty' });
  });

  it('is let go of also where the runtime does not', async () => {
    const { fetch } = scriptedFetch(async ({ body }) => {
      await (body as ReadableStream).getReader().read();
      return problem('forbidden', 403);
    });
    let closed = false;
    function* endless() {
      try {
        for (;;) yield { caseId: 'U-1', data: { text: 'x'.repeat(10_000) } };
      } finally {
        closed = true;
      }
    }
    const docket = new Docket({ ...options, fetch });
    await expect(docket.cases.bulkUpdate(endless())).rejects.toMatchObject({ code: 'forbidden' });
    expect(closed).toBe(true);
  });

  it('because it is no longer wanted, rejects with the reason, and closes its source', async () => {
    const controller = new AbortController();
    let closed = false;
    async function* endless() {
      try {
        for (let at = 0; ; at++) {
          if (at === 20_000) controller.abort(new Error('changed my mind'));
          yield { caseId: `U-${at % 1_500}`, assignee: 'nobody' };
        }
      } finally {
        closed = true;
      }
    }
    const { docket } = watchedClient();
    const call = docket.cases.bulkUpdate(endless(), { signal: controller.signal });
    await expect(call).rejects.toThrow('changed my mind');
    await waitUntil(() => closed, 'the source is closed');
    expect((await docket.cases.get('U-1')).assignee).not.toBe('nobody');
  });
});
