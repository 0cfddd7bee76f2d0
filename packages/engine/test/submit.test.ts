import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Fixture, openFixture } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
afterAll(() => fixture?.close());

test('a small batch is answered with a result for each item, in request order', async () => {
  await fixture.seed(3);
  const outcome = await fixture.submit([
    { widgetId: 'w2', status: 'active' },
    { widgetId: 'nobody', status: 'active' },
    { widgetId: 'w0', status: 'retired' },
    { widgetId: 'w1', name: 'name 1' },
    { widgetId: 'w1', colour: 'red' },
  ]);
  expect(outcome.kind).toBe('results');
  if (outcome.kind !== 'results') return;
  expect(outcome.results?.map((one) => [one.id, one.status, one.changed, one.error?.code])).toEqual([
    ['w2', 'succeeded', true, undefined],
    ['nobody', 'failed', undefined, 'not_found'],
    ['w0', 'failed', undefined, 'invalid_transition'],
    ['w1', 'succeeded', false, undefined],
    ['w1', 'failed', undefined, 'unknown_field'],
  ]);
  expect(outcome.job).toMatchObject({
    status: 'completed',
    summary: { total: 5, succeeded: 2, failed: 3, notProcessed: 0 },
  });
});

test('a job applies every item', async () => {
  const outcome = await fixture.submit({ items: [{ id: 'w0', fields: { size: 5 } }], options: { mode: 'async' } });
  expect(outcome.kind).toBe('job');
  const job = await fixture.engine.waitForJob('acme', outcome.job.jobId, 10_000);
  expect(job.status).toBe('completed');
  expect((await fixture.engine.readRecord('acme', 'widgets', 'w0'))?.fields.size).toBe(5);
});
