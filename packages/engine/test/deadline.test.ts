import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { holdLocks, waitForLock } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf, verdicts } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture({ syncBudgetMs: 150 });
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

const items = ['w0', 'w1', 'w1', 'nobody', 'w2'].map((id, index) => ({ id, fields: { size: 50 + index } }));
const holdW1 = () => holdLocks(fixture.sql, `select 1 from widgets where widget_id = 'w1' for update`);

test('when the time ends, free records are applied and held ones are told', async () => {
  await fixture.reseed(3);
  const release = await holdW1();
  try {
    const results = await resultsOf(fixture.submit({ items }));
    expect(verdicts(results)).toEqual(['changed', 'deadline_exceeded', 'deadline_exceeded', 'not_found', 'changed']);
    expect(results[1]).toMatchObject({ status: 'not_processed', retryable: true });
  } finally {
    await release();
  }
  const { rows } = await fixture.sql.query('select size from widgets order by widget_id');
  expect(rows.map((row) => row.size)).toEqual([50, 1, 54]);
});

test('an atomic batch applies nothing then', async () => {
  await fixture.reseed(3);
  const release = await holdW1();
  try {
    const atomic = items.filter((item) => item.id !== 'nobody');
    const results = await resultsOf(fixture.submit({ items: atomic, options: { atomic: true } }));
    expect(verdicts(results)).toEqual(['stopped', 'deadline_exceeded', 'deadline_exceeded', 'stopped']);
  } finally {
    await release();
  }
});

test('a lock that is let go in time costs nothing but the wait', async () => {
  const patient = await openFixture();
  try {
    await patient.seed(3);
    const release = await holdLocks(patient.sql, `select 1 from widgets where widget_id = 'w1' for update`);
    const answer = resultsOf(patient.submit({ items }));
    await waitForLock(patient.sql, 'docket');
    await release();
    expect(verdicts(await answer)).toEqual(['changed', 'changed', 'changed', 'not_found', 'changed']);
  } finally {
    await patient.close();
  }
});

test('records that somebody is creating are told when the time ends', async () => {
  await fixture.reseed(0);
  const release = await holdLocks(
    fixture.sql,
    `insert into widgets values ('acme', 'n1', 'theirs', 'draft', 1, null, '{}', 1, now(), now())`,
  );
  try {
    const results = await resultsOf(
      fixture.submit({ items: ['n0', 'n1'].map((id) => ({ id, fields: { name: id } })) }, { operation: 'create' }),
    );
    expect(verdicts(results)).toEqual(['deadline_exceeded', 'deadline_exceeded']);
  } finally {
    await release();
  }
});

test('onDeadline continue goes on as a job, which ends once the lock is let go', async () => {
  await fixture.reseed(3);
  const release = await holdW1();
  const outcome = await fixture.submit({ items, options: { onDeadline: 'continue' } });
  expect(outcome).toMatchObject({ kind: 'job', job: { status: 'pending', representation: true } });
  const worker = await fixture.createEngine();
  await worker.startWorkers();
  await waitForLock(fixture.sql, 'docket-worker');
  await release();
  const job = await fixture.engine.waitForJob('acme', outcome.job.jobId, 15_000);
  expect(job.summary).toEqual({ total: 5, succeeded: 4, failed: 1, notProcessed: 0 });
  const { rows } = await fixture.sql.query('select size from widgets order by widget_id');
  expect(rows.map((row) => row.size)).toEqual([50, 52, 54]);
});
