import { type Engine, parseOptions, RequestError, type StreamedItem, type StreamSubmission } from '@docket/engine';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { holdLocks, waitForLock, waitUntil } from './wait-until.ts';
import { type Fixture, openFixture } from './widgets.ts';

let fixture: Fixture;
let engine: Engine;
beforeAll(async () => {
  fixture = await openFixture({ limits: { streamItems: 20_000 } });
  engine = fixture.engine;
  await engine.startWorkers();
});
/** Until no job runs any more. */
const quiet = () =>
  waitUntil(
    async () => (await fixture.sql.query('select 1 from docket.runnable_jobs')).rowCount === 0,
    'all jobs ended',
  );
beforeEach(async () => {
  await quiet();
  await fixture.reseed(5);
});
afterAll(async () => {
  await quiet();
  await assertInvariants(fixture.sql);
  await fixture.close();
});

const tenantId = 'acme';
const submissionOf = (rest: Partial<StreamSubmission> = {}): StreamSubmission => ({
  tenantId,
  actor: 'tester',
  collection: 'widgets',
  operation: 'update',
  options: parseOptions({}, engine.limits),
  ...rest,
});

async function* items(count: number, onItem: (index: number) => void = () => {}): AsyncGenerator<StreamedItem> {
  for (let index = 0; index < count; index++) {
    onItem(index);
    yield { id: `none-${index}`, fields: { note: 'x' } };
  }
}

async function refusal(work: Promise<unknown>): Promise<RequestError> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(RequestError);
  return error as RequestError;
}
const chunksLeft = async () => (await fixture.sql.query('select 1 from docket.job_chunks')).rows.length;

describe('a stream of items', () => {
  test('becomes a job of all of them, in order', async () => {
    const { job } = await engine.submitStream(submissionOf(), items(2_345));
    expect(job).toMatchObject({ status: 'pending', summary: { total: 2_345 } });
    const ended = await engine.waitForJob(tenantId, job.jobId, 15_000);
    expect(ended).toMatchObject({ status: 'completed', summary: { failed: 2_345 } });
    const { rows } = await fixture.sql.query('select item_count from docket.job_chunks order by chunk_no');
    expect(rows.map((row) => row.item_count)).toEqual([1_000, 1_000, 345]);
    const { rows: stored } = await fixture.sql.query(
      "select ordered, expires_at - created_at > interval '6 days' as kept from docket.jobs",
    );
    expect(stored).toEqual([{ ordered: false, kept: true }]);
  });

  test('closes a chunk early when its items are large', async () => {
    async function* large(): AsyncGenerator<StreamedItem> {
      for (let n = 0; n < 300; n++) yield { id: `w${n % 5}`, fields: { tags: { text: `${n}${'x'.repeat(60_000)}` } } };
    }
    const { job } = await engine.submitStream(submissionOf(), large());
    expect((await engine.waitForJob(tenantId, job.jobId, 15_000)).summary.succeeded).toBe(300);
    expect(await chunksLeft()).toBeGreaterThan(3);
  });

  test('is read no faster than its items are stored', async () => {
    let read = 0;
    const release = await holdLocks(fixture.sql, 'lock table docket.job_chunks in share mode');
    const taken = engine.submitStream(
      submissionOf(),
      items(10_000, (index) => {
        read = index;
      }),
    );
    await waitForLock(fixture.sql, 'docket');
    // why: what could be read without waiting has been read once the event loop was idle for a while
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(read).toBeLessThan(2_001);
    await release();
    const { job } = await taken;
    expect((await engine.waitForJob(tenantId, job.jobId, 15_000)).summary.total).toBe(10_000);
  });

  test('fails broken lines as items of their own, whatever the id column is', async () => {
    async function* broken(): AsyncGenerator<StreamedItem> {
      yield { line: 1, message: 'It is broken.' };
      yield { line: 2, column: 7, message: 'So is this.', ref: 'two' };
      yield { line: 3, column: 'count', message: 'And this.', id: '5' };
    }
    for (const operation of ['update', 'create'] as const) {
      const { job } = await engine.submitStream(submissionOf({ collection: 'gadgets', operation }), broken());
      await engine.waitForJob(tenantId, job.jobId, 15_000);
      const { items: results } = await engine.jobResults({ tenantId, jobId: job.jobId, limit: 5 });
      expect(results.map(({ id, ref, error }) => [id, ref, error?.code, error?.message, error?.field])).toEqual([
        ['', undefined, 'validation_failed', 'Line 1: It is broken.', null],
        ['', 'two', 'validation_failed', 'Line 2, column 7: So is this.', null],
        ['5', undefined, 'validation_failed', 'Line 3, column "count": And this.', 'count'],
      ]);
    }
  });

  test('that fails leaves a failed job without items, and its error is thrown again', async () => {
    async function* failing(): AsyncGenerator<StreamedItem> {
      yield* items(2_500);
      throw new RequestError('malformed_body', 'Line 2501 cannot be read.');
    }
    const error = await refusal(engine.submitStream(submissionOf(), failing()));
    expect(error.code).toBe('malformed_body');
    const job = await engine.getJob(tenantId, error.details.extra?.jobId as string);
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'malformed_body', message: 'Line 2501 cannot be read.' },
    });
    expect(await chunksLeft()).toBe(0);
  });

  test('whose source breaks for a reason of its own tells the job no more than that', async () => {
    async function* failing(): AsyncGenerator<StreamedItem> {
      yield* items(1);
      throw new Error('secret');
    }
    await expect(engine.submitStream(submissionOf(), failing())).rejects.toThrow('secret');
    const { items: jobs } = await engine.listJobs({ tenantId, limit: 1 });
    expect(jobs[0]).toMatchObject({ status: 'failed', error: { code: 'internal' } });
  });

  test('that is empty or too long is refused', async () => {
    expect((await refusal(engine.submitStream(submissionOf(), items(0)))).code).toBe('batch_empty');
    const error = await refusal(engine.submitStream(submissionOf(), items(20_001)));
    expect(error).toMatchObject({ code: 'batch_too_large', details: { limit: 20_000 } });
    expect(await chunksLeft()).toBe(0);
  });

  test('that was ended by somebody else is given up', async () => {
    async function* ended(): AsyncGenerator<StreamedItem> {
      yield* items(1_500);
      await waitUntil(async () => (await chunksLeft()) === 1, 'a chunk is stored');
      await fixture.sql.query(
        `update docket.jobs set status = 'cancelled', cancel_requested = true, completed_at = now()
         where status = 'pending' and total = 0`,
      );
      yield* items(1_500);
    }
    expect((await refusal(engine.submitStream(submissionOf(), ended()))).code).toBe('job_conflict');
    expect(await chunksLeft()).toBe(0);
    expect((await engine.listJobs({ tenantId, limit: 1 })).items[0]).toMatchObject({ status: 'cancelled' });
  });

  test('of which a database that crashed lost a part is failed, and nothing is applied', async () => {
    async function* interrupted(): AsyncGenerator<StreamedItem> {
      yield* items(2_500);
      await waitUntil(async () => (await chunksLeft()) === 2, 'two chunks are stored');
      // as after a crash: the last commits, which were not durable yet, are gone
      await fixture.sql.query(`delete from docket.job_chunks where chunk_no = 1`);
      await fixture.sql.query(
        `update docket.jobs set received = received - 1000 where status = 'pending' and total = 0`,
      );
      yield* items(1_000);
    }
    const error = await refusal(engine.submitStream(submissionOf(), interrupted()));
    expect(error).toMatchObject({ code: 'database_unavailable', details: { retryAfter: 2 } });
    const job = await engine.getJob(tenantId, error.details.extra?.jobId as string);
    expect(job).toMatchObject({ status: 'failed', error: { code: 'database_unavailable' } });
    expect(await chunksLeft()).toBe(0);
  });

  test('whose process died is failed when workers start, with its key', async () => {
    const idempotency = { key: 'k', payloadHash: () => 'hash' };
    async function* endless(): AsyncGenerator<StreamedItem> {
      yield* items(1_200);
      await waitUntil(async () => (await chunksLeft()) === 1, 'a chunk is stored');
      await fixture.sql.query(`update docket.jobs set expires_at = now() - interval '1 s' where total = 0`);
      const other = await fixture.createEngine();
      await other.startWorkers();
      await waitUntil(async () => (await chunksLeft()) === 0, 'the upload is given up');
      await other.stop();
    }
    const error = await refusal(engine.submitStream(submissionOf({ idempotency }), endless()));
    expect(error.code).toBe('job_conflict');
    expect((await engine.listJobs({ tenantId, limit: 1 })).items[0]).toMatchObject({ status: 'failed' });
    const { replayed } = await engine.submitStream(submissionOf({ idempotency }), items(3));
    expect(replayed).toBe(false);
    expect((await engine.submitStream(submissionOf({ idempotency }), items(3))).replayed).toBe(true);
  });

  test('with the key of one that still comes is refused, and of one that came meanwhile is compared', async () => {
    const keyed = (payloadHash: string, key = 'first') =>
      submissionOf({ idempotency: { key, payloadHash: () => payloadHash } });
    async function* late(): AsyncGenerator<StreamedItem> {
      await engine.submitStream(keyed('a', 'second'), items(2));
      yield* items(2);
    }
    async function* slow(): AsyncGenerator<StreamedItem> {
      yield* items(1);
      expect((await refusal(engine.submitStream(keyed('a'), items(1)))).code).toBe('idempotency_in_progress');
      expect(
        (await refusal(fixture.submit([{ id: 'w0' }], { idempotency: { key: 'first', payloadHash: 'a' } }))).code,
      ).toBe('idempotency_in_progress');
    }
    await engine.submitStream(keyed('a'), slow());
    expect((await engine.submitStream(keyed('a', 'second'), late())).replayed).toBe(true);
    expect((await refusal(engine.submitStream(keyed('b', 'second'), items(2)))).code).toBe('idempotency_key_reused');
  });
});
