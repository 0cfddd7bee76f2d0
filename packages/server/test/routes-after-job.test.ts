import { afterAll, beforeAll, expect, it } from 'vitest';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve({ withoutWorkers: true });
  await createCases(served, ['A', 'B']);
});
afterAll(() => served?.stop());

it('reads a case once a job has decided it', async () => {
  const { call, engine } = served;
  const { body: job } = await call('POST', '/api/v1/cases/bulk-update', {
    updates: [{ caseId: 'A', status: 'On Hold' }],
    options: { mode: 'async' },
  });

  const early = await call('GET', `/api/v1/cases/A?afterJob=${job.jobId}&wait=0`);
  expect(early).toMatchObject({ status: 503, body: { code: 'deadline_exceeded' } });
  expect(early.headers.get('retry-after')).toBe('1');
  expect(await call('GET', `/api/v1/cases/B?afterJob=${job.jobId}&wait=0`)).toMatchObject({ status: 200 });
  expect(await call('POST', '/api/v1/cases/refresh-status', { caseIds: ['B', 'A'] })).toMatchObject({
    body: { cases: [{ pendingJobIds: [] }, { pendingJobIds: [job.jobId], status: 'In Progress' }] },
  });

  const waiting = call('GET', `/api/v1/cases/A?afterJob=${job.jobId}&wait=30`);
  await engine.startWorkers();
  expect(await waiting).toMatchObject({ status: 200, body: { status: 'On Hold' } });
});

it('refuses a wait for nothing, and for a job that is not there', async () => {
  const { call } = served;
  expect(await call('GET', '/api/v1/cases/A?wait=1')).toMatchObject({
    status: 400,
    body: { code: 'invalid_parameter' },
  });
  expect(await call('GET', '/api/v1/cases/A?afterJob=job_none')).toMatchObject({
    status: 404,
    body: { code: 'job_not_found' },
  });
});
