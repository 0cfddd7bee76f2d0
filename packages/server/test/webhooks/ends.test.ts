import { sql } from '@docket/engine';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { createCases } from '../served.ts';
import { type Delivering, serveDelivering } from './delivering.ts';

/*
 * All the ways in which a job ends without its last chunk being applied: each is told, once.
 */

const events = ['job.completed', 'job.failed', 'job.cancelled'];
let docket: Delivering;
let webhookId: string;
beforeAll(async () => {
  docket = await serveDelivering({ withoutWorkers: true });
  ({ webhookId } = await docket.subscribe('http://127.0.0.1:9/', events));
});
afterAll(() => docket?.stop());

/** What was recorded of a job, for the endpoint and for its callback. */
async function toldOf(jobId: string) {
  const { rows } = await docket.engine.pool.query<{ type: string; url: string | null }>(sql`
    select type, url from docket.webhook_deliveries where data ->> 'jobId' = ${jobId} order by url nulls first`);
  return rows.map(({ type, url }) => [type, url]);
}

const callbackUrl = 'http://127.0.0.1:9/callback';
const bulk = (body: object) => docket.call('POST', '/api/v1/cases/bulk-update', body as never);
const stream = (body: string, type = 'application/x-ndjson') =>
  docket.call('POST', `/api/v1/cases/bulk-update?callbackUrl=${encodeURIComponent(callbackUrl)}`, body, {
    'content-type': type,
  });
const both = (type: string) => [
  [type, null],
  [type, callbackUrl],
];

it('a selection of nothing completes at once', async () => {
  const { body } = await bulk({ where: {}, fields: { title: 'x' }, options: { mode: 'async', callbackUrl } });
  expect(await toldOf(body.jobId)).toEqual(both('job.completed'));
});

it('a job is cancelled before it began, though asked twice', async () => {
  const items = [{ id: 'A', fields: { title: 'x' } }];
  const { body } = await bulk({ items, options: { mode: 'async', callbackUrl } });
  expect(await toldOf(body.jobId)).toEqual([]);
  for (let n = 0; n < 2; n++) {
    expect((await docket.call('POST', `/api/v1/jobs/${body.jobId}/cancel`)).body.status).toBe('cancelled');
  }
  expect(await toldOf(body.jobId)).toEqual(both('job.cancelled'));
});

it('an upload that cannot be read to its end fails', async () => {
  const { body } = await stream(`caseId,title\n${'A,x\n'.repeat(2_000)}B,"y`, 'text/csv');
  expect((await docket.call('GET', `/api/v1/jobs/${body.jobId}`)).body.status).toBe('failed');
  expect(await toldOf(body.jobId)).toEqual(both('job.failed'));
  const { items } = (await docket.call('GET', `/api/v1/webhooks/${webhookId}/deliveries?event=job.failed`)).body;
  expect(JSON.parse(items[0].request.body).data.error).toMatchObject({ code: 'malformed_body' });
});

it('an upload whose server died is failed by another one', async () => {
  const { body } = await stream('{"caseId":"A"}\n');
  await docket.engine.pool.query(sql`
    update docket.jobs set total = 0, expires_at = now() - interval '1 second' where job_id::text = ${body.jobId.replace(/^job_(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}`);
  await stream('{"caseId":"A"}\n');
  expect(await toldOf(body.jobId)).toEqual(both('job.failed'));
});

it('the last chunk of a cancelled job, left by a worker, ends it', async () => {
  const { body } = await bulk({
    items: [{ id: 'A', fields: { title: 'x' } }],
    options: { mode: 'async', callbackUrl },
  });
  const uuid = body.jobId.replace(/^job_(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  await docket.engine.pool.query(sql`
    update docket.jobs set status = 'running', started_at = now(), cancel_requested = true where job_id = ${uuid}::uuid`);
  await docket.engine.startWorkers();
  await waitUntil(async () => (await toldOf(body.jobId)).length > 0, 'it has ended');
  expect(await toldOf(body.jobId)).toEqual(both('job.cancelled'));
});

it('a follow-up that has nothing to do completes at once', async () => {
  await createCases(docket, ['B']);
  const preview = await bulk({
    where: { status: 'Closed' },
    fields: { title: 'x' },
    options: { dryRun: true, mode: 'async' },
  });
  const { body } = await docket.call('POST', `/api/v1/jobs/${preview.body.jobId}/apply`);
  expect(await toldOf(body.jobId)).toEqual([['job.completed', null]]);
});
