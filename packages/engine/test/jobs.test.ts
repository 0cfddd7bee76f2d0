import type { ItemCode, Job, Json } from '@docket/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, submissionOf } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
beforeEach(() => fixture.reseed(3));
afterAll(async () => {
  await assertInvariants(fixture.sql);
  await fixture.close();
});

const tenantId = 'acme';
async function ended(body: Json, rest: object = {}): Promise<Job> {
  const outcome = await fixture.submit(body, rest);
  return await fixture.engine.waitForJob(tenantId, outcome.job.jobId, 15_000);
}
const badCursors = ['', 'x', 'bnVsbA', 'W10', '\u0000', '🙂'];

describe('the list of jobs', () => {
  test('holds every batch, newest first, and no single writes', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 7; n++) {
      ids.unshift((await ended([{ id: 'w0', size: n }])).jobId);
      await fixture.submit([{ id: 'w1', size: n }], { single: true });
    }
    const seen: string[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await fixture.engine.listJobs({ tenantId, limit: 3, cursor });
      seen.push(...page.items.map((job) => job.jobId));
      if (!page.nextCursor) break;
      cursor = page.nextCursor;
      await fixture.submit([{ id: 'w0', size: 99 }]);
    }
    expect(seen).toEqual(ids);
  });

  test('filters by status, collection and label', async () => {
    const labelled = await ended({ items: [{ id: 'w0', fields: { size: 2 } }], options: { label: 'monday' } });
    const other = await ended([{ id: '1', count: 2 }], { collection: 'gadgets' });
    const list = async (filter: object) =>
      (await fixture.engine.listJobs({ tenantId, limit: 10, ...filter })).items.map((job) => job.jobId);
    expect(await list({ label: 'monday' })).toEqual([labelled.jobId]);
    expect(await list({ collection: 'gadgets' })).toEqual([other.jobId]);
    expect(await list({ status: 'completed', collection: 'widgets' })).toEqual([labelled.jobId]);
    expect(await list({ status: 'running' })).toEqual([]);
  });

  test('refuses a cursor of other filters, and one that nobody gave out', async () => {
    for (let n = 0; n < 3; n++) await ended([{ id: 'w0', size: n }]);
    const { nextCursor } = await fixture.engine.listJobs({ tenantId, limit: 1 });
    const scope = JSON.parse(Buffer.from(nextCursor ?? '', 'base64url').toString())[0];
    const forged = [[], [5], ['job_x'], ['a', 'b']].map((place) =>
      Buffer.from(JSON.stringify([scope, ...place])).toString('base64url'),
    );
    for (const cursor of [...badCursors, ...forged]) {
      await expect(fixture.engine.listJobs({ tenantId, limit: 1, cursor })).rejects.toMatchObject({
        code: 'invalid_parameter',
      });
    }
    await expect(
      fixture.engine.listJobs({ tenantId, limit: 1, label: 'x', cursor: nextCursor as string }),
    ).rejects.toMatchObject({ code: 'invalid_parameter' });
  });
});

describe('results', () => {
  let job: Job;
  beforeEach(async () => {
    const items = Array.from({ length: 2300 }, (_, n) => ({
      id: n % 100 === 7 ? `none ${n}` : `w${n % 3}`,
      fields: { size: 20 + (n % 50) },
      ref: `line ${n}`,
    }));
    job = await ended({ items, options: { mode: 'async' } });
  });
  const walk = async (limit: number, status?: 'failed' | 'succeeded' | 'not_processed') => {
    const indexes: number[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await fixture.engine.jobResults({ tenantId, jobId: job.jobId, status, limit, cursor });
      indexes.push(...page.items.map((one) => one.index));
      if (!page.nextCursor) return indexes;
      cursor = page.nextCursor;
    }
  };

  test('stand in request order over all pages, for every size of page', async () => {
    const all = Array.from({ length: 2300 }, (_, n) => n);
    for (const limit of [333, 1000, 1001, 5000]) expect(await walk(limit)).toEqual(all);
  });
  test('are filtered by status', async () => {
    const failed = Array.from({ length: 23 }, (_, n) => n * 100 + 7);
    for (const limit of [1, 10, 11, 100]) expect(await walk(limit, 'failed')).toEqual(failed);
    expect(await walk(100, 'not_processed')).toEqual([]);
  });
  test('are filtered by code, and chunks that hold no such result are not read', async () => {
    const items = Array.from({ length: 3500 }, (_, n) => ({
      id: n === 1500 || n === 2700 ? `none ${n}` : `w${n % 3}`,
      fields: n === 700 ? { colour: 'red' } : n === 1600 ? { size: -1 } : { size: 20 + (n % 50) },
    }));
    job = await ended({ items, options: { mode: 'async', maxErrors: 4 } });
    await fixture.sql.query(`update docket.job_chunks set results = 'damaged' where chunk_no = 3`);
    const read = async (codes: ItemCode[], limit: number, status?: 'failed') => {
      const indexes: number[] = [];
      for (let cursor: string | undefined; ; ) {
        const page = await fixture.engine.jobResults({ tenantId, jobId: job.jobId, status, codes, limit, cursor });
        indexes.push(...page.items.map((one) => one.index));
        if (!page.nextCursor) return indexes;
        cursor = page.nextCursor;
      }
    };
    for (const limit of [1, 2, 100]) {
      expect(await read(['not_found'], limit)).toEqual([1500, 2700]);
      expect(await read(['validation_failed', 'unknown_field', 'not_found'], limit)).toEqual([700, 1500, 1600, 2700]);
    }
    expect(await read([], 5)).toEqual([]);
    expect(await read(['cancelled'], 5)).toEqual([]);
    expect(await read(['stopped'], 5, 'failed').catch(() => 'read')).toEqual([]);
    const streamed = [];
    const asked = { tenantId, jobId: job.jobId, codes: ['unknown_field' as const] };
    for await (const chunk of fixture.engine.streamResults({ ...asked, withFields: false })) streamed.push(...chunk);
    expect(streamed).toMatchObject([{ result: { index: 700 }, fields: {} }]);
    // written by a version that did not note the codes
    await fixture.sql.query('update docket.job_chunks set codes = null where chunk_no < 3');
    expect(await read(['not_found'], 1).catch(() => 'read chunk 3')).toEqual([1500, 2700]);
    await fixture.sql.query(`delete from docket.job_chunks where chunk_no = 3`);
  });
  test('of a cancelled job have the code of those that were not reached', async () => {
    const idle = await openFixture();
    try {
      const items = Array.from({ length: 1200 }, (_, n) => ({ id: `w${n}`, fields: { size: 1 } }));
      const { job: open } = await idle.submit({ items, options: { mode: 'async' } });
      await idle.engine.cancelJob({ tenantId, actor: 'tester' }, open.jobId);
      const read = async (codes: ItemCode[]) =>
        (await idle.engine.jobResults({ tenantId, jobId: open.jobId, codes, limit: 5000 })).items.length;
      expect([await read(['cancelled']), await read(['not_found', 'stopped'])]).toEqual([1200, 0]);
    } finally {
      await idle.close();
    }
  });
  test('refuse a cursor that was made for other codes', async () => {
    const asked = { tenantId, jobId: job.jobId, limit: 1 };
    const { nextCursor } = await fixture.engine.jobResults({ ...asked, codes: ['not_found', 'stopped'] });
    const again = (codes?: ItemCode[]) =>
      fixture.engine.jobResults({ ...asked, codes, cursor: nextCursor ?? undefined });
    expect((await again(['stopped', 'not_found'])).items).toMatchObject([{ index: 107 }]);
    for (const codes of [undefined, ['not_found' as const]])
      await expect(again(codes)).rejects.toMatchObject({ code: 'invalid_parameter' });
  });
  test('come as a stream with what was asked of each', async () => {
    const rows = [];
    for await (const chunk of fixture.engine.streamResults({ tenantId, jobId: job.jobId })) rows.push(...chunk);
    expect(rows.map((row) => row.result.index)).toEqual(Array.from({ length: 2300 }, (_, n) => n));
    expect(rows[1234]).toMatchObject({ fields: { size: 20 + (1234 % 50) }, result: { ref: 'line 1234' } });
    let failed = 0;
    for await (const chunk of fixture.engine.streamResults({ tenantId, jobId: job.jobId, status: 'failed' }))
      failed += chunk.length;
    expect(failed).toBe(23);
  });
  test('of another tenant, or an unknown job, are not there', async () => {
    for (const params of [
      { tenantId: 'other', jobId: job.jobId },
      { tenantId, jobId: 'job_x' },
    ]) {
      await expect(fixture.engine.getJob(params.tenantId, params.jobId)).rejects.toMatchObject({
        code: 'job_not_found',
      });
      await expect(fixture.engine.jobResults({ ...params, limit: 1 })).rejects.toMatchObject({ code: 'job_not_found' });
      await expect(fixture.engine.waitForJob(params.tenantId, params.jobId, 10)).rejects.toMatchObject({
        code: 'job_not_found',
      });
      await expect(fixture.engine.streamResults(params)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        code: 'job_not_found',
      });
    }
  });
  test('refuse a cursor that nobody gave out', async () => {
    const { nextCursor } = await fixture.engine.jobResults({ tenantId, jobId: job.jobId, limit: 1 });
    const scope = JSON.parse(Buffer.from(nextCursor ?? '', 'base64url').toString())[0];
    const forged = [[], ['0', 0], [0], [0, 0.5], [99999999999, 0], [0, 0, 0]].map((place) =>
      Buffer.from(JSON.stringify([scope, ...place])).toString('base64url'),
    );
    for (const cursor of [...badCursors, ...forged]) {
      await expect(fixture.engine.jobResults({ tenantId, jobId: job.jobId, limit: 1, cursor })).rejects.toMatchObject({
        code: 'invalid_parameter',
      });
    }
  });
});

describe('history', () => {
  test('holds the changes of a record, newest first, with their job and place', async () => {
    const made = await ended([{ widgetId: 'n', name: 'new' }], { operation: 'create' });
    const changed = await ended([
      { id: 'w0', size: 2 },
      { id: 'n', size: 2 },
      { id: 'n', note: 'x' },
    ]);
    const entries = [];
    for (let cursor: string | undefined; ; ) {
      const page = await fixture.engine.history({ tenantId, collection: 'widgets', id: 'n', limit: 1, cursor });
      entries.push(...page.items);
      if (!page.nextCursor) break;
      cursor = page.nextCursor;
    }
    expect(entries).toMatchObject([
      { version: 3, jobId: changed.jobId, index: 2, actor: 'tester', before: { note: null }, after: { note: 'x' } },
      { version: 2, jobId: changed.jobId, index: 1, before: { size: 0 }, after: { size: 2 } },
      { version: 1, jobId: made.jobId, index: 0, before: null, after: { name: 'new', status: 'draft' } },
    ]);
  });

  test('refuses a cursor that nobody gave out', async () => {
    await ended([
      { id: 'w0', size: 2 },
      { id: 'w0', size: 3 },
    ]);
    const list = (cursor?: string) =>
      fixture.engine.history({ tenantId, collection: 'widgets', id: 'w0', limit: 1, cursor });
    const { nextCursor } = await list();
    const scope = JSON.parse(Buffer.from(nextCursor ?? '', 'base64url').toString())[0];
    const forged = [[2, 'no uuid', 0], [2], [{}, {}, {}], [2 ** 40, '01890a5d-ac96-774b-bcce-b302099a8057', 0]].map(
      (place) => Buffer.from(JSON.stringify([scope, ...place])).toString('base64url'),
    );
    for (const cursor of [...badCursors, ...forged]) {
      await expect(list(cursor)).rejects.toMatchObject({ code: 'invalid_parameter' });
    }
  });
});

describe('what still waits', () => {
  test('is told for each id, until its chunk is applied; a dry run is not', async () => {
    const idle = await openFixture();
    try {
      await idle.seed(3);
      const submit = async (items: Json, options: object) =>
        (await idle.engine.submit(submissionOf(idle.engine, { items, options } as Json))).job.jobId;
      const one = await submit([{ id: 'w0' }, { id: 'w1' }], { mode: 'async' });
      const two = await submit([{ id: 'w1' }], { mode: 'async' });
      await submit([{ id: 'w2' }], { mode: 'async', dryRun: true });
      const pending = () => idle.engine.pendingJobs(tenantId, 'widgets', ['w0', 'w1', 'w2', 'nobody']);
      expect(Object.fromEntries(await pending())).toEqual({ w0: [one], w1: [one, two] });
      expect((await idle.engine.pendingJobs('other', 'widgets', ['w0'])).size).toBe(0);
      await idle.engine.startWorkers();
      await waitUntil(async () => (await pending()).size === 0, 'nothing waits');
    } finally {
      await idle.close();
    }
  });
});

describe('what waits in a large job', () => {
  test('is found without reading the chunks that do not hold it', async () => {
    const idle = await openFixture();
    try {
      const items = Array.from({ length: 4500 }, (_, n) => ({ id: `w${n}`, fields: { size: 1 } }));
      const { job } = await idle.submit({ items, options: { mode: 'async' } });
      await idle.sql.query(`update docket.job_chunks set items = 'damaged'`);
      const pending = (ids: string[]) => idle.engine.pendingJobs(tenantId, 'widgets', ids);
      expect([...(await pending(['w1234', 'w4321', 'w4499', 'nobody'])).keys()]).toEqual(['w1234', 'w4321', 'w4499']);
      expect((await pending(Array.from({ length: 1000 }, (_, n) => `other ${n}`))).size).toBe(0);
      const wait = (id: string) => idle.engine.waitForRecord({ tenantId, jobId: job.jobId, id, timeoutMs: 0 });
      expect(await wait('nobody')).toBe(true);
      expect(await wait('w1999')).toBe(false);
    } finally {
      await idle.close();
    }
  });
  test('is found where a version before stored no hashes', async () => {
    const idle = await openFixture();
    try {
      const items = Array.from({ length: 1500 }, (_, n) => ({ id: `w${n}`, fields: { size: 1 } }));
      const { job } = await idle.submit({ items, options: { mode: 'async' } });
      await idle.sql.query('update docket.job_chunks set id_hashes = null');
      const pending = await idle.engine.pendingJobs(tenantId, 'widgets', ['w0', 'w1499', 'nobody']);
      expect([...pending.keys()]).toEqual(['w0', 'w1499']);
      const asked = { tenantId, jobId: job.jobId, id: 'w1499', timeoutMs: 0 };
      expect(await idle.engine.waitForRecord(asked)).toBe(false);
    } finally {
      await idle.close();
    }
  });
});

describe('waiting for a job', () => {
  test('ends when the caller goes away, and when the time has passed', async () => {
    const idle = await openFixture();
    try {
      await idle.seed(1);
      const outcome = await idle.submit({ items: [{ id: 'w0', fields: {} }], options: { mode: 'async' } });
      expect((await idle.engine.waitForJob(tenantId, outcome.job.jobId, 20)).status).toBe('pending');
      const gone = new AbortController();
      const waiting = idle.engine.waitForJob(tenantId, outcome.job.jobId, 60_000, gone.signal);
      gone.abort();
      expect((await waiting).status).toBe('pending');
      expect((await idle.engine.waitForJob(tenantId, outcome.job.jobId, 60_000, gone.signal)).status).toBe('pending');
    } finally {
      await idle.close();
    }
  });

  test('ends with the job as it is when the engine stops', async () => {
    const idle = await openFixture();
    try {
      await idle.seed(1);
      const outcome = await idle.submit({ items: [{ id: 'w0', fields: {} }], options: { mode: 'async' } });
      const engine = await idle.createEngine();
      const waiting = Promise.all(
        Array.from({ length: 5 }, () => engine.waitForJob(tenantId, outcome.job.jobId, 60_000)),
      );
      await engine.getJob(tenantId, outcome.job.jobId);
      await engine.stop();
      expect((await waiting).map((job) => job.status)).toEqual(Array(5).fill('pending'));
    } finally {
      await idle.close();
    }
  });
});
