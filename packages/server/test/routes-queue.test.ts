import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Served, serve } from './served.ts';

const limits = { streamItems: 20, queuedItemsPerTenant: 20, queuedItems: 30, queuedJobsPerTenant: 3 };

let server: Served;
beforeAll(async () => {
  server = await serve({ withoutWorkers: true, limits });
});
afterAll(() => server.stop());

const batch = (count: number) => ({
  updates: Array.from({ length: count }, (_, n) => ({ caseId: `none-${n}`, status: 'Closed' })),
  options: { mode: 'async' },
});
const bulkUpdate = '/api/v1/cases/bulk-update';

test('a batch for which there is no room is refused, with the bound and when to come again', async () => {
  const { call, base, authorization } = server;
  expect((await call('POST', bulkUpdate, batch(15))).status).toBe(202);
  const refused = await call('POST', bulkUpdate, batch(6));
  expect(refused).toMatchObject({
    status: 429,
    body: { code: 'rate_limited', limit: 20, actual: 21, type: `${base}/errors/rate_limited` },
  });
  expect(refused.body.detail).toContain('15 items wait to be applied, and the batch has 6 more; 20 may wait.');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(
    (
      await call('POST', '/bulk-jobs', {
        operation: 'update_cases',
        items: batch(6).updates.map(({ caseId }) => ({ id: caseId })),
      })
    ).status,
  ).toBe(429);
  const lines = batch(6)
    .updates.map((item) => JSON.stringify(item))
    .join('\n');
  const upload = await fetch(base + bulkUpdate, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/x-ndjson' },
    body: lines,
  });
  expect(upload.status).toBe(429);
  expect(await upload.json()).toMatchObject({
    code: 'rate_limited',
    actual: 21,
    jobId: expect.stringMatching(/^job_/),
  });
  const others = await fetch(base + bulkUpdate, {
    method: 'POST',
    headers: { authorization: `Bearer ${await server.keyOf('globex')}`, 'content-type': 'application/json' },
    body: JSON.stringify(batch(16)),
  });
  expect(others.status).toBe(503);
  expect(others.headers.get('retry-after')).toBe('5');
  expect(await others.json()).toMatchObject({ code: 'overloaded', limit: 30, actual: 31 });
  expect((await call('POST', bulkUpdate, { updates: batch(10).updates })).status).toBe(200);
  expect((await call('GET', '/api/v1/limits')).body).toMatchObject(limits);
});
