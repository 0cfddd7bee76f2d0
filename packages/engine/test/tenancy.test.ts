import type { Json } from '@docket/engine';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { type Fixture, openFixture, submissionOf } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  await fixture.engine.startWorkers();
});
afterAll(() => fixture?.close());

const tenantTables = /\b(docket\.(jobs|job_chunks|changes|idempotency_keys|item_keys|usage)|widgets)\b/;
const namesTenant = /"?tenant_id"? = \$\d+/;
const insertsTenant = /^insert into \S+ \([^)]*"?tenant_id"?/;

/** Everything a tenant can ask of the engine, once. */
async function workOut(tenantId: string): Promise<void> {
  const { engine } = fixture;
  const collection = 'widgets';
  const submit = (body: Json, rest: object = {}) => engine.submit({ ...submissionOf(engine, body, rest), tenantId });
  const key = (name: string) => ({ idempotency: { key: name, payloadHash: name } });
  const items = (size: number) =>
    ['w0', 'w1', 'w2', 'nobody'].map((id) => ({ id, fields: { size }, idempotencyKey: `${id} ${size}` }));
  await submit({ items: items(2) }, key('a'));
  await submit({ items: items(2) }, key('a'));
  await submit([
    { id: 'w0', size: 13 },
    { id: 'w1', size: 3 },
  ]);
  await submit(
    [
      { id: 'n0', name: 'new' },
      { id: 'w0', name: 'x' },
      { id: 'n1', name: 'name 1' },
    ],
    { operation: 'create' },
  );
  await submit({ where: { status: 'draft', q: 'w', updatedSince: '2020-01-01T00:00:00Z' }, fields: { note: 'n' } });
  await submit(
    {
      where: { size: [2, 3] },
      fields: { note: 'm' },
      expectedCount: 3,
      options: { mode: 'async', waitForCompletion: true },
    },
    key('b'),
  );
  await submit(
    { where: { size: [2, 3] }, fields: { note: 'm' }, expectedCount: 3, options: { mode: 'async' } },
    key('b'),
  );
  await submit({ where: {}, fields: { note: 'many' } });
  const preview = await submit({ items: items(4), options: { dryRun: true } });
  const applying = await engine.applyPreview({ tenantId, actor: 'x' }, preview.job.jobId);
  await engine.waitForJob(tenantId, applying.jobId, 10_000);
  const job = await submit({ items: items(5), options: { mode: 'async', maxErrors: 2 } });
  await engine.pendingJobs(tenantId, collection, ['w0']);
  await engine.waitForRecord({ tenantId, jobId: job.job.jobId, id: 'w0', timeoutMs: 10_000 });
  await engine.waitForJob(tenantId, job.job.jobId, 10_000);
  const results = await engine.jobResults({ tenantId, jobId: job.job.jobId, limit: 2 });
  await engine.jobResults({ tenantId, jobId: job.job.jobId, limit: 2, cursor: results.nextCursor ?? undefined });
  await engine.jobResults({ tenantId, jobId: job.job.jobId, limit: 2, status: 'failed' });
  for (const status of [undefined, 'succeeded', 'failed', 'not_processed'] as const)
    await engine.jobResults({ tenantId, jobId: job.job.jobId, limit: 2, status, codes: ['not_found'] });
  for await (const rows of engine.streamResults({ tenantId, jobId: job.job.jobId }))
    expect(rows.length).toBeGreaterThan(0);
  const jobs = await engine.listJobs({ tenantId, limit: 1, status: 'completed', collection });
  await engine.listJobs({ tenantId, limit: 1, status: 'completed', collection, cursor: jobs.nextCursor ?? undefined });
  await engine.readRecord(tenantId, collection, 'w0');
  await engine.readRecords(tenantId, collection, ['w0', 'w1']);
  const list = await engine.listRecords({ tenantId, collection, where: { status: 'draft' }, sort: '-size', limit: 1 });
  await engine.listRecords({
    tenantId,
    collection,
    where: { status: 'draft' },
    sort: '-size',
    limit: 1,
    cursor: list.nextCursor ?? undefined,
  });
  const history = await engine.history({ tenantId, collection, id: 'w0', limit: 1 });
  await engine.history({ tenantId, collection, id: 'w0', limit: 1, cursor: history.nextCursor ?? undefined });
  const { client, held } = await holdW0(tenantId);
  const waiting = submit({
    items: [{ id: 'w0', fields: { note: `held ${held}` } }],
    options: { onDeadline: 'continue' },
  });
  await client.query('rollback');
  client.release();
  await waiting;
  await engine.usage({ tenantId });
}
async function holdW0(tenantId: string) {
  const client = await fixture.sql.connect();
  await client.query('begin');
  const { rowCount } = await client.query(
    `select 1 from widgets where tenant_id = $1 and widget_id = 'w0' for update`,
    [tenantId],
  );
  return { client, held: rowCount };
}

test('every statement on a table of tenants names the tenant; only the dispatch list is read across them', async () => {
  await fixture.reseed(1050);
  const statements = new Set<string>();
  const original = pg.Client.prototype.query as (...args: unknown[]) => unknown;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first] = args as [string | { text: string }];
    if (this !== undefined)
      statements.add((typeof first === 'string' ? first : first.text).replace(/\s+/g, ' ').trim());
    return original.apply(this, args);
  } as never;
  try {
    await workOut('acme');
  } finally {
    pg.Client.prototype.query = original as never;
  }
  const touching = [...statements].filter(
    (text) => tenantTables.test(text) && !/from widgets where tenant_id = \$1 and widget_id = 'w0'/.test(text),
  );
  expect(touching.length).toBeGreaterThan(35);
  for (const table of ['jobs', 'job_chunks', 'changes', 'idempotency_keys', 'item_keys', 'usage', 'widgets']) {
    for (const verb of [table === 'usage' ? 'merge into' : 'insert into', 'from']) {
      expect(
        touching.some((text) => text.includes(verb) && text.includes(table)),
        `${verb} ${table} was seen`,
      ).toBe(true);
    }
  }
  // what waits of all tenants together: a sum, now and then
  const isWholeQueue = /^select count\(\*\) as jobs, coalesce\(sum\(.* from docket\.jobs where status in \([^)]*\)$/;
  const without = touching.filter(
    (text) => !namesTenant.test(text) && !insertsTenant.test(text) && !isWholeQueue.test(text),
  );
  expect(without).toEqual([]);
  const dispatching = [...statements].filter(
    (text) => text.includes('docket.runnable_jobs') && !tenantTables.test(text),
  );
  for (const text of dispatching.filter((one) => !namesTenant.test(one) && !insertsTenant.test(one))) {
    expect(text).toMatch(/^with recursive waiting_tenants as|^select exists \(select 1 from docket\.runnable_jobs/);
  }
});

test('two tenants with the same ids and keys never see or touch what is the other’s', async () => {
  await fixture.reseed(3);
  await fixture.sql.query('truncate docket.idempotency_keys');
  await fixture.seed(3, { tenantId: 'other' });
  const { engine } = fixture;
  const snapshot = async (tenant: string) => {
    const tables = [
      'widgets',
      'docket.jobs',
      'docket.job_chunks',
      'docket.changes',
      'docket.idempotency_keys',
      'docket.item_keys',
      'docket.usage',
    ];
    const read = async (table: string) =>
      (await fixture.sql.query(`select * from ${table} t where tenant_id = $1 order by t::text`, [tenant])).rows;
    return await Promise.all(tables.map(read));
  };
  await workOut('acme');
  const ours = await snapshot('acme');
  await workOut('other');
  expect(await snapshot('acme')).toEqual(ours);
  const theirs = await snapshot('other');
  expect(theirs.map((rows) => rows.length)).toEqual(ours.map((rows) => rows.length));
  await assertInvariants(fixture.sql);

  const jobsOf = async (tenantId: string) =>
    (await engine.listJobs({ tenantId, limit: 100 })).items.map((job) => job.jobId);
  const [acme, other] = [await jobsOf('acme'), await jobsOf('other')];
  expect(acme.length).toBeGreaterThan(5);
  expect(acme.filter((job) => other.includes(job))).toEqual([]);
  for (const jobId of other)
    await expect(engine.getJob('acme', jobId)).rejects.toMatchObject({ code: 'job_not_found' });
  const history = await engine.history({ tenantId: 'acme', collection: 'widgets', id: 'w0', limit: 100 });
  expect(history.items.every((entry) => acme.includes(entry.jobId) || !other.includes(entry.jobId))).toBe(true);
  expect(await engine.readRecord('nobody', 'widgets', 'w0')).toBeUndefined();
});

test('reads of one tick for two tenants are answered each with its own', async () => {
  await fixture.reseed(1);
  await fixture.seed(1, { tenantId: 'other' });
  await fixture.sql.query(`update widgets set note = tenant_id`);
  const notes = await Promise.all(
    ['acme', 'other', 'acme', 'nobody'].map(
      async (tenant) => (await fixture.engine.readRecord(tenant, 'widgets', 'w0'))?.fields.note,
    ),
  );
  expect(notes).toEqual(['acme', 'other', 'acme', undefined]);
});
