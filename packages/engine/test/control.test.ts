import type { Engine, ItemResult, Job, Json } from '@docket/engine';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { cutConnections, holdLocks, waitForLock } from './wait-until.ts';
import { type Fixture, openFixture, verdicts } from './widgets.ts';

let fixture: Fixture;
let worker: Engine | undefined;
beforeAll(async () => {
  fixture = await openFixture();
});
afterEach(async () => {
  await worker?.stop();
  worker = undefined;
  await assertInvariants(fixture.sql);
});
afterAll(() => fixture?.close());

const caller = { tenantId: 'acme', actor: 'boss' };
const engine = () => fixture.engine;

/** One chunk at a time, so that a held one keeps the others pending. */
async function startWorker(workers = 1): Promise<void> {
  worker = await fixture.createEngine({ workers });
  await worker.startWorkers();
}
async function submitJob(items: Json, rest: object = {}, options: object = {}): Promise<string> {
  const { job } = await fixture.submit({ items, options: { mode: 'async', ...options } } as Json, rest);
  return job.jobId;
}
const update = (ids: readonly string[], fields: Json = { size: 5 }) => ids.map((id) => ({ id, fields }));
const ended = (jobId: string): Promise<Job> => engine().waitForJob('acme', jobId, 25_000);
async function completed(jobId: string): Promise<Job> {
  const job = await ended(jobId);
  expect(job.status).toBe('completed');
  return job;
}
async function results(jobId: string, status?: ItemResult['status']): Promise<ItemResult[]> {
  return (await engine().jobResults({ tenantId: 'acme', jobId, limit: 10_000, status })).items;
}
const conflict = { code: 'job_conflict' };
const holdFirst = () => holdLocks(fixture.sql, `select 1 from widgets where widget_id = 'w0' for update`);
const rowsOf = async (text: string) => (await fixture.sql.query(text)).rows;
const widgetsNow = () =>
  rowsOf('select widget_id, name, status, size, note, tags from widgets order by tenant_id, widget_id');

/** A job of 3,000 items whose first chunk is being applied and waits for a record, the others pending. */
async function jobInFlight(): Promise<{ jobId: string; release: () => Promise<void> }> {
  const ids = await fixture.reseed(3000);
  const release = await holdFirst();
  await startWorker();
  const jobId = await submitJob(update(ids));
  await waitForLock(fixture.sql, 'docket-worker');
  return { jobId, release };
}

describe('cancel', () => {
  test('of a job that has not begun: nothing is applied, every item has its result', async () => {
    const jobId = await submitJob(update(await fixture.reseed(2500)));
    const job = await engine().cancelJob(caller, jobId);
    expect(job).toMatchObject({ status: 'cancelled', cancelRequested: true, startedAt: null });
    expect(job.summary).toEqual({ total: 2500, succeeded: 0, failed: 0, notProcessed: 2500 });
    const all = await results(jobId);
    expect(all.map((one) => one.index)).toEqual(Array.from({ length: 2500 }, (_, index) => index));
    expect(all[2400]).toMatchObject({ id: 'w2400', status: 'not_processed', retryable: true });
    expect(new Set(verdicts(all))).toEqual(new Set(['cancelled']));
    expect(await engine().pendingJobs('acme', 'widgets', ['w0'])).toEqual(new Map());
  });

  test('lets the chunk in flight finish, and keeps what it applied', async () => {
    const { jobId, release } = await jobInFlight();
    const cancelling = await engine().cancelJob(caller, jobId);
    expect(cancelling).toMatchObject({ status: 'running', cancelRequested: true, summary: { notProcessed: 2000 } });
    expect((await engine().cancelJob(caller, jobId)).status).toBe('running');
    await expect(engine().pauseJob(caller, jobId)).rejects.toMatchObject(conflict);
    await expect(engine().resumeJob(caller, jobId)).rejects.toMatchObject(conflict);
    await release();
    const job = await ended(jobId);
    expect(job).toMatchObject({ status: 'cancelled', summary: { succeeded: 1000, failed: 0, notProcessed: 2000 } });
    expect(await engine().cancelJob(caller, jobId)).toEqual(job);
    expect(await results(jobId, 'not_processed')).toHaveLength(2000);
    expect(await results(jobId, 'succeeded')).toHaveLength(1000);
  });

  test('is final for a chunk whose worker dies afterwards', async () => {
    const { jobId, release } = await jobInFlight();
    await engine().cancelJob(caller, jobId);
    expect(await cutConnections(fixture.sql, 'docket-worker', `wait_event_type = 'Lock'`)).toBe(1);
    const job = await ended(jobId);
    await release();
    expect(job).toMatchObject({ status: 'cancelled', summary: { succeeded: 0, notProcessed: 3000 } });
    expect(await rowsOf('select 1 from docket.changes')).toEqual([]);
  });

  test('of a paused job with a chunk in flight', async () => {
    const { jobId, release } = await jobInFlight();
    await engine().pauseJob(caller, jobId);
    expect(await engine().cancelJob(caller, jobId)).toMatchObject({ status: 'running', cancelRequested: true });
    await release();
    expect((await ended(jobId)).status).toBe('cancelled');
  });

  test('twenty times at once gives one end', async () => {
    const { jobId, release } = await jobInFlight();
    const answers = Promise.all(Array.from({ length: 20 }, () => engine().cancelJob(caller, jobId)));
    for (const job of await answers) expect(job.cancelRequested).toBe(true);
    await release();
    expect((await ended(jobId)).summary).toEqual({ total: 3000, succeeded: 1000, failed: 0, notProcessed: 2000 });
  });

  test('at any moment of a job: it is cancelled, or it had completed and the answer says so', async () => {
    const ids = await fixture.reseed(1500);
    await startWorker(3);
    const ends = new Set<string>();
    for (let round = 0; round < 40; round++) {
      const jobId = await submitJob(update(ids.slice(0, round % 2 ? 1500 : 20), { note: `${round}` }));
      if (round % 4 > 1) await engine().waitForJob('acme', jobId, round);
      const refused = await engine()
        .cancelJob(caller, jobId)
        .then(
          () => false,
          (error) => {
            expect(error).toMatchObject(conflict);
            return true;
          },
        );
      const job = await ended(jobId);
      expect(job.status).toBe(refused ? 'completed' : 'cancelled');
      ends.add(job.status);
    }
    expect(ends).toContain('cancelled');
  });
});

describe('pause and resume', () => {
  test('before the beginning: the job waits, and is pending again', async () => {
    const jobId = await submitJob(update(await fixture.reseed(10)));
    expect((await engine().pauseJob(caller, jobId)).status).toBe('paused');
    expect((await engine().pauseJob(caller, jobId)).status).toBe('paused');
    await assertInvariants(fixture.sql);
    expect((await engine().resumeJob(caller, jobId)).status).toBe('pending');
    expect((await engine().resumeJob(caller, jobId)).status).toBe('pending');
    await startWorker();
    expect((await completed(jobId)).summary.succeeded).toBe(10);
  });

  test('in the middle: the chunk in flight finishes, no other begins', async () => {
    const { jobId, release } = await jobInFlight();
    const paused = await Promise.all([engine().pauseJob(caller, jobId), engine().pauseJob(caller, jobId)]);
    expect(paused.map((job) => job.status)).toEqual(['paused', 'paused']);
    await release();
    const other = await submitJob(update(['w2999'], { note: 'after' }));
    await completed(other);
    const job = await engine().getJob('acme', jobId);
    expect(job).toMatchObject({ status: 'paused', summary: { succeeded: 1000 } });
    await assertInvariants(fixture.sql);
    expect((await engine().resumeJob(caller, jobId)).status).toBe('running');
    expect((await completed(jobId)).summary.succeeded).toBe(3000);
  });

  test('a paused job whose last chunk was in flight completes', async () => {
    const ids = await fixture.reseed(10);
    const release = await holdFirst();
    await startWorker();
    const jobId = await submitJob(update(ids));
    await waitForLock(fixture.sql, 'docket-worker');
    expect((await engine().pauseJob(caller, jobId)).status).toBe('paused');
    await release();
    await completed(jobId);
  });

  test('can be cancelled while it waits', async () => {
    const jobId = await submitJob(update(await fixture.reseed(10)));
    await engine().pauseJob(caller, jobId);
    expect((await engine().cancelJob(caller, jobId)).status).toBe('cancelled');
  });

  test('a job that ends while it is being resumed is off the dispatch list', async () => {
    const ids = await fixture.reseed(1);
    await startWorker();
    const release = await holdLocks(fixture.sql, 'select 1 from widgets for update');
    const jobId = await submitJob(update(ids));
    await waitForLock(fixture.sql, 'docket-worker');
    await engine().pauseJob(caller, jobId);
    // the statements of a resume, held open
    const resuming = await fixture.sql.connect();
    await resuming.query(`begin; update docket.jobs set status = 'running';
      insert into docket.runnable_jobs (tenant_id, job_id, priority) select tenant_id, job_id, priority from docket.jobs`);
    await release();
    await waitForLock(fixture.sql, 'docket-worker');
    await resuming.query('commit');
    resuming.release();
    expect((await completed(jobId)).summary.succeeded).toBe(1);
    expect(await rowsOf('select 1 from docket.runnable_jobs')).toEqual([]);
  });

  test('at random beside the workers, nothing is lost and nothing done twice', async () => {
    const ids = await fixture.reseed(6000);
    await startWorker(3);
    const jobId = await submitJob(update(ids));
    for (let round = 0; round < 15; round++) {
      const calls = [engine().pauseJob(caller, jobId), engine().resumeJob(caller, jobId)];
      for (const { status, reason } of (await Promise.allSettled(calls)) as PromiseRejectedResult[]) {
        if (status === 'rejected') expect(reason).toMatchObject(conflict);
      }
    }
    await engine()
      .resumeJob(caller, jobId)
      .catch(() => {});
    expect((await completed(jobId)).summary.succeeded).toBe(6000);
    expect(await rowsOf('select distinct version from widgets')).toEqual([{ version: 2 }]);
  });
});

describe('retry', () => {
  const reversed = { size: 13 };

  test('holds what failed and what was not reached, as it was sent; after mending it succeeds', async () => {
    await fixture.reseed(3);
    await startWorker();
    const items = [
      { id: 'w0', fields: { size: 5 } },
      { id: 'late', fields: { size: 6 }, ref: 'line 2' },
      { id: 'w1', fields: reversed },
      { id: 'w2', fields: { size: 7 }, version: 9 },
    ];
    const parent = await submitJob(items, {}, { label: 'monday', priority: 'high' });
    expect(verdicts(await results((await completed(parent)).jobId))).toEqual([
      'changed',
      'not_found',
      'constraint_violation',
      'version_conflict',
    ]);
    await fixture.submit([{ id: 'late', name: 'late' }], { operation: 'create' });
    const retry = await engine().retryJob(caller, parent);
    expect(retry).toMatchObject({
      operation: 'retry',
      parentJobId: parent,
      label: 'monday',
      priority: 'high',
      actor: 'boss',
      summary: { total: 3 },
    });
    await completed(retry.jobId);
    const again = await results(retry.jobId);
    expect(verdicts(again)).toEqual(['changed', 'constraint_violation', 'version_conflict']);
    expect(again[0]).toMatchObject({ index: 0, id: 'late', ref: 'line 2' });
    const asked = await Promise.all(Array.from({ length: 5 }, () => engine().retryJob(caller, parent)));
    expect(new Set(asked.map((job) => job.jobId))).toEqual(new Set([retry.jobId]));
    await expect(engine().retryJob(caller, parent, 'retryable')).rejects.toMatchObject(conflict);
    // a retry has failures of its own, and can be retried
    expect((await engine().retryJob(caller, retry.jobId)).summary.total).toBe(2);
  });

  test('of a cancelled job goes on where it was stopped', async () => {
    const { jobId, release } = await jobInFlight();
    await engine().cancelJob(caller, jobId);
    await release();
    await ended(jobId);
    const retry = await engine().retryJob(caller, jobId, 'retryable');
    expect((await completed(retry.jobId)).summary).toEqual({
      total: 2000,
      succeeded: 2000,
      failed: 0,
      notProcessed: 0,
    });
    expect(await rowsOf('select distinct size, version from widgets')).toEqual([{ size: 5, version: 2 }]);
  });

  test('keeps the order of items for one id, over chunks', async () => {
    await fixture.reseed(2);
    const items = Array.from({ length: 2500 }, (_, n) => ({ id: `w${n % 2}`, fields: { note: `${n}` } }));
    const parent = await submitJob(items);
    await engine().cancelJob(caller, parent);
    await startWorker(3);
    await completed((await engine().retryJob(caller, parent)).jobId);
    expect((await widgetsNow()).map((row) => row.note)).toEqual(['2498', '2499']);
  });

  test('of creations creates, and of an applied preview forgets what the preview said', async () => {
    await fixture.reseed(1);
    await startWorker();
    const taken = await submitJob([{ id: 'w0', fields: { name: 'again' } }], { operation: 'create' });
    await completed(taken);
    expect((await engine().retryJob(caller, taken)).itemOperation).toBe('create');
    const preview = await submitJob(update(['later']), {}, { dryRun: true });
    await completed(preview);
    const applied = await engine().applyPreview(caller, preview);
    await completed(applied.jobId);
    await fixture.submit([{ id: 'later', name: 'later' }], { operation: 'create' });
    const retry = await engine().retryJob(caller, applied.jobId);
    expect((await completed(retry.jobId)).summary.succeeded).toBe(1);
    await expect(engine().retryJob(caller, preview)).rejects.toMatchObject(conflict);
  });

  test('is refused while the job is open, and where all went well', async () => {
    const jobId = await submitJob(update(await fixture.reseed(2)));
    await expect(engine().retryJob(caller, jobId)).rejects.toMatchObject(conflict);
    await engine().pauseJob(caller, jobId);
    await expect(engine().retryJob(caller, jobId)).rejects.toMatchObject(conflict);
    await engine().resumeJob(caller, jobId);
    await startWorker();
    await completed(jobId);
    await expect(engine().retryJob(caller, jobId)).rejects.toMatchObject(conflict);
  });
});

describe('revert', () => {
  async function reverted(jobId: string): Promise<{ job: Job; verdicts: string[] }> {
    const job = await completed((await engine().revertJob(caller, jobId)).jobId);
    return { job, verdicts: verdicts(await results(job.jobId)) };
  }

  test('gives the values back, whole objects and nulls too; reverted again it is as the job left it', async () => {
    await fixture.reseed(3);
    await fixture.submit([{ id: 'w0', tags: { a: { b: 1 } }, note: 'kept' }]);
    await startWorker();
    const before = await widgetsNow();
    const jobId = await submitJob([
      { id: 'w0', fields: { tags: { a: { b: null, c: 2 }, d: 1 }, note: null } },
      { id: 'w1', fields: { size: 9 } },
      { id: 'w2', fields: { size: 1 } },
      { id: 'nobody', fields: { size: 9 } },
    ]);
    await completed(jobId);
    const after = await widgetsNow();
    const undo = await reverted(jobId);
    expect(undo.job).toMatchObject({ operation: 'revert', parentJobId: jobId, actor: 'boss' });
    expect(undo.verdicts).toEqual(['changed', 'changed']);
    expect(await widgetsNow()).toEqual(before);
    const asked = await Promise.all([engine().revertJob(caller, jobId), engine().revertJob(caller, jobId)]);
    expect(asked.map((job) => job.jobId)).toEqual([undo.job.jobId, undo.job.jobId]);
    expect((await reverted(undo.job.jobId)).verdicts).toEqual(['changed', 'changed']);
    expect(await widgetsNow()).toEqual(after);
  });

  test('leaves alone what was changed since, that record only', async () => {
    const ids = await fixture.reseed(3);
    await startWorker();
    const jobId = await submitJob(update(ids));
    await completed(jobId);
    await fixture.submit([{ id: 'w1', note: 'since' }]);
    const undo = await reverted(jobId);
    expect(undo.verdicts).toEqual(['changed', 'version_conflict', 'changed']);
    expect((await widgetsNow()).map((row) => [row.size, row.note])).toEqual([
      [1, null],
      [5, 'since'],
      [1, null],
    ]);
  });

  test('leads out of a final status', async () => {
    const ids = await fixture.reseed(2, { status: 'active' });
    await startWorker();
    const jobId = await submitJob(update(ids, { status: 'retired' }));
    await completed(jobId);
    expect((await reverted(jobId)).verdicts).toEqual(['changed', 'changed']);
    expect((await widgetsNow()).map((row) => row.status)).toEqual(['active', 'active']);
  });

  test('undoes an id that stood in several items once, within a chunk and over chunks', async () => {
    const ids = await fixture.reseed(900);
    await startWorker(3);
    const before = await widgetsNow();
    const items = [
      { id: 'w0', fields: { size: 2 } },
      { id: 'w0', fields: { size: 3, note: 'x' } },
      ...update(ids.slice(1), { size: 4 }),
      // the second chunk begins in here
      ...update(ids.slice(0, 600), { note: 'second' }),
      { id: 'w0', fields: { note: 'second' } },
      { id: 'w1', fields: { size: 13 } },
    ];
    const jobId = await submitJob(items);
    const { summary } = await completed(jobId);
    expect(summary).toMatchObject({ total: items.length, failed: 1 });
    const undo = await reverted(jobId);
    expect(undo.job.summary).toEqual({ total: 900, succeeded: 900, failed: 0, notProcessed: 0 });
    expect(await widgetsNow()).toEqual(before);
  });

  test('of a cancelled job undoes what it had applied', async () => {
    const { jobId, release } = await jobInFlight();
    await engine().cancelJob(caller, jobId);
    await release();
    await ended(jobId);
    expect((await reverted(jobId)).job.summary.total).toBe(1000);
    expect(await rowsOf('select distinct size from widgets')).toEqual([{ size: 1 }]);
  });

  test('of a synchronous batch and a single write', async () => {
    await fixture.reseed(2);
    await startWorker();
    const batch = await fixture.submit(update(['w0']).map(({ id, fields }) => ({ id, ...(fields as object) })) as Json);
    const single = await fixture.submit([{ id: 'w1', size: 5 }], { single: true });
    for (const { job } of [batch, single]) expect((await reverted(job.jobId)).verdicts).toEqual(['changed']);
    expect((await widgetsNow()).map((row) => row.size)).toEqual([1, 1]);
  });

  test('guards records without a version by their values', async () => {
    await fixture.sql.query(`truncate gadgets; insert into gadgets values (1, 'a', 1), (2, 'a', 1), (3, 'a', 1)`);
    await startWorker();
    const items = [...update(['1', '2', '3'], { count: 5 }), ...update(['3'], { count: 6 })];
    const jobId = await submitJob(items, { collection: 'gadgets' });
    await completed(jobId);
    await fixture.sql.query('update gadgets set count = 7 where id = 2');
    expect((await reverted(jobId)).verdicts).toEqual(['changed', 'version_conflict', 'changed']);
    expect((await rowsOf('select count from gadgets order by id')).map((row) => row.count)).toEqual([1, 7, 1]);
  });

  test('is refused for an open job, a dry run, creations, and where nothing was changed', async () => {
    const ids = await fixture.reseed(1);
    const open = await submitJob(update(ids));
    await expect(engine().revertJob(caller, open)).rejects.toMatchObject(conflict);
    await engine().cancelJob(caller, open);
    await expect(engine().revertJob(caller, open)).rejects.toMatchObject(conflict);
    for (const [body, rest] of [
      [{ items: update(ids), options: { dryRun: true } }, {}],
      [[{ id: 'new', name: 'new' }], { operation: 'create' }],
      [[{ id: 'w0', size: 1 }], {}],
    ] as const) {
      const { job } = await fixture.submit(body as Json, rest);
      await expect(engine().revertJob(caller, job.jobId)).rejects.toMatchObject(conflict);
    }
  });
});

describe('delete', () => {
  test('removes an ended job and its key; the history stays', async () => {
    await fixture.reseed(1);
    const idempotency = { key: 'once', payloadHash: 'h' };
    const { job } = await fixture.submit([{ id: 'w0', size: 5 }], { idempotency });
    await engine().deleteJob(caller, job.jobId);
    await expect(engine().getJob('acme', job.jobId)).rejects.toMatchObject({ code: 'job_not_found' });
    await expect(engine().deleteJob(caller, job.jobId)).rejects.toMatchObject({ code: 'job_not_found' });
    expect(await rowsOf('select 1 from docket.job_chunks')).toEqual([]);
    const history = await engine().history({ tenantId: 'acme', collection: 'widgets', id: 'w0', limit: 5 });
    expect(history.items).toMatchObject([{ jobId: job.jobId, after: { size: 5 } }]);
    expect((await fixture.submit([{ id: 'w0', note: 'n' }], { idempotency })).replayed).toBe(false);
    // why: the invariants compare changes with jobs that are there
    await fixture.reseed(0);
  });

  test('in the middle of a stream of results ends it with an error, not in silence', async () => {
    const jobId = await submitJob(update(await fixture.reseed(1500)));
    await engine().cancelJob(caller, jobId);
    const stream = engine().streamResults({ tenantId: 'acme', jobId })[Symbol.asyncIterator]();
    expect((await stream.next()).value).toHaveLength(1000);
    await engine().deleteJob(caller, jobId);
    await expect(stream.next()).rejects.toMatchObject({ code: 'job_not_found' });
  });

  test('of an open job is refused', async () => {
    const jobId = await submitJob(update(await fixture.reseed(1)));
    await expect(engine().deleteJob(caller, jobId)).rejects.toMatchObject(conflict);
    await engine().pauseJob(caller, jobId);
    await expect(engine().deleteJob(caller, jobId)).rejects.toMatchObject(conflict);
    await engine().cancelJob(caller, jobId);
    await engine().deleteJob(caller, jobId);
  });
});

test('every call answers in every ended state, and knows neither unknown jobs nor those of other tenants', async () => {
  await fixture.reseed(1);
  const { job } = await fixture.submit([{ id: 'w0', size: 5 }]);
  for (const name of ['cancelJob', 'pauseJob', 'resumeJob'] as const) {
    await expect(engine()[name](caller, job.jobId)).rejects.toMatchObject(conflict);
  }
  const calls = ['cancelJob', 'pauseJob', 'resumeJob', 'retryJob', 'revertJob', 'deleteJob'] as const;
  for (const name of calls) {
    for (const unknown of ['job_x', `job_${'0'.repeat(32)}`]) {
      await expect(engine()[name](caller, unknown)).rejects.toMatchObject({ code: 'job_not_found' });
    }
    const stranger = engine()[name]({ ...caller, tenantId: 'other' }, job.jobId);
    await expect(stranger).rejects.toMatchObject({ code: 'job_not_found' });
  }
});
