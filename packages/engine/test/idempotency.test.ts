import type { Engine, Json, Submission } from '@docket/engine';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { holdLocks, waitForLock } from './wait-until.ts';
import { type Fixture, openFixture, resultsOf, submissionOf, verdicts } from './widgets.ts';

let fixture: Fixture;
let second: Engine;
beforeAll(async () => {
  fixture = await openFixture();
  second = await fixture.createEngine();
  await fixture.engine.startWorkers();
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

let keys = 0;
const newKey = () => `key ${keys++}`;
const keyed = (key: string, payloadHash = 'hash') => ({ idempotency: { key, payloadHash } });
const send = (engine: Engine, body: Json, rest: Partial<Submission>) => engine.submit(submissionOf(engine, body, rest));
const bump = [{ id: 'w0', size: 5 }];
const versionOf = async (id: string) => (await fixture.engine.readRecord('acme', 'widgets', id))?.version;

describe('a key of a batch', () => {
  test('used fifty times at once, from two processes, applies once', async () => {
    await fixture.reseed(20);
    const key = newKey();
    const ids = Array.from({ length: 20 }, (_, n) => `w${n}`);
    const answers = await Promise.allSettled(
      Array.from({ length: 50 }, (_, n) =>
        send(
          n % 2 ? second : fixture.engine,
          ids.map((id) => ({ id, note: 'x' })),
          keyed(key),
        ),
      ),
    );
    const jobs = new Set<string>();
    let fresh = 0;
    for (const answer of answers) {
      if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'idempotency_in_progress' });
      else {
        jobs.add(answer.value.job.jobId);
        if (!answer.value.replayed) fresh += 1;
      }
    }
    expect([fresh, jobs.size]).toEqual([1, 1]);
    const { rows } = await fixture.sql.query('select distinct version from widgets');
    expect(rows).toEqual([{ version: 2 }]);
  });

  test('replays the first answer, whatever happened since, in another process too', async () => {
    await fixture.reseed(1);
    const key = newKey();
    const first = await send(fixture.engine, [...bump, { id: 'nobody', size: 1 }], keyed(key));
    await send(fixture.engine, [{ id: 'w0', size: 6 }], {});
    const late = await fixture.createEngine();
    const again = await send(late, [...bump, { id: 'nobody', size: 1 }], keyed(key));
    expect(again).toEqual({ ...first, replayed: true });
    expect(await versionOf('w0')).toBe(3);
  });

  test('while the first request runs is in progress', async () => {
    await fixture.reseed(1);
    const key = newKey();
    const release = await holdLocks(fixture.sql, 'select 1 from widgets for update');
    const first = send(fixture.engine, bump, keyed(key));
    await waitForLock(fixture.sql, 'docket');
    await expect(send(second, bump, keyed(key))).rejects.toMatchObject({
      code: 'idempotency_in_progress',
      details: { retryAfter: 1 },
    });
    await release();
    expect((await first).replayed).toBe(false);
    expect((await send(second, bump, keyed(key))).replayed).toBe(true);
  });

  test('with another payload is refused', async () => {
    await fixture.reseed(1);
    const key = newKey();
    await send(fixture.engine, bump, keyed(key));
    await expect(send(second, bump, keyed(key, 'other'))).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  });

  test('belongs to its tenant', async () => {
    await fixture.reseed(1);
    await fixture.seed(1, { tenantId: 'other' });
    const key = newKey();
    await send(fixture.engine, bump, keyed(key));
    expect((await send(fixture.engine, bump, { ...keyed(key, 'other'), tenantId: 'other' })).replayed).toBe(false);
  });

  test('that has expired is free again', async () => {
    await fixture.reseed(1);
    const key = newKey();
    const first = await send(fixture.engine, bump, keyed(key));
    await fixture.sql.query(
      `update docket.idempotency_keys set expires_at = now() - interval '1 second' where key = $1`,
      [key],
    );
    const again = await send(fixture.engine, bump, keyed(key, 'other'));
    expect(again.replayed).toBe(false);
    expect(again.job.jobId).not.toBe(first.job.jobId);
    expect((await send(second, bump, keyed(key, 'other'))).job.jobId).toBe(again.job.jobId);
  });

  test('of a request that was refused stays free', async () => {
    await fixture.reseed(2);
    const key = newKey();
    const select = (expectedCount: number) =>
      send(fixture.engine, { where: {}, fields: { size: 3 }, expectedCount }, keyed(key));
    await expect(select(5)).rejects.toMatchObject({ code: 'expected_count_mismatch' });
    expect((await select(2)).replayed).toBe(false);
  });

  test('of a selection replays, though the selection no longer holds what it held', async () => {
    await fixture.reseed(2);
    const key = newKey();
    const select = () =>
      send(fixture.engine, { where: { size: 1 }, fields: { size: 3 }, expectedCount: 2 }, keyed(key));
    const first = await select();
    expect(await select()).toEqual({ ...first, replayed: true });
  });

  test('of an atomic batch that failed replays the failure', async () => {
    await fixture.reseed(1);
    const key = newKey();
    const batch = {
      items: [
        { id: 'w0', fields: { size: 5 } },
        { id: 'later', fields: { size: 5 } },
      ],
      options: { atomic: true },
    };
    const first = await send(fixture.engine, batch, keyed(key));
    await send(fixture.engine, [{ id: 'later', name: 'later' }], { operation: 'create' });
    expect(await send(second, batch, keyed(key))).toEqual({ ...first, replayed: true });
    expect(await versionOf('w0')).toBe(1);
  });

  test('of a job gives the job as it is by now', async () => {
    await fixture.reseed(1);
    const key = newKey();
    const batch = { items: [{ id: 'w0', fields: { size: 5 } }], options: { mode: 'async' } };
    const first = await send(fixture.engine, batch, keyed(key));
    await fixture.engine.waitForJob('acme', first.job.jobId, 10_000);
    expect(await send(second, batch, keyed(key))).toMatchObject({
      kind: 'job',
      replayed: true,
      job: { jobId: first.job.jobId, status: 'completed' },
    });
    const waiting = { ...batch, options: { mode: 'async', waitForCompletion: true } };
    expect(await send(second, waiting, keyed(key))).toMatchObject({ kind: 'results', replayed: true });
  });
});

describe("an item's own key", () => {
  const item = (key: string, id = 'w0', size = 5) => ({ id, fields: { size }, idempotencyKey: key });

  test('applies once, however often and whichever way it comes', async () => {
    await fixture.reseed(2);
    const key = newKey();
    const [first] = await resultsOf(fixture.submit({ items: [item(key)] }));
    for (const options of [{}, { mode: 'async', waitForCompletion: true }]) {
      const batch = {
        items: [item(`${key} ${JSON.stringify(options)}`, 'w1', 9), { ...item(key, 'w0', 77), ref: 'r' }],
        options,
      };
      const [, again] = await resultsOf(fixture.submit(batch as Json));
      expect(again).toEqual({ ...first, index: 1, ref: 'r', replayed: true });
    }
    expect(await versionOf('w0')).toBe(2);
  });

  test('in two batches at once applies once', async () => {
    await fixture.reseed(40);
    const prefix = newKey();
    const items = Array.from({ length: 40 }, (_, n) => item(`${prefix} ${n}`, `w${n}`, 100 + n));
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        resultsOf(send(n % 2 ? second : fixture.engine, { items: n % 3 ? items : items.toReversed() }, {})),
      ),
    );
    const fresh = answers.flat().filter((one) => !one.replayed);
    expect(fresh.length).toBe(40);
    expect(new Set(fresh.map((one) => one.id)).size).toBe(40);
    const { rows } = await fixture.sql.query('select distinct version from widgets');
    expect(rows).toEqual([{ version: 2 }]);
  });

  test('of an item that failed, or of a dry run, is free again', async () => {
    await fixture.reseed(1);
    const key = newKey();
    await fixture.submit({ items: [item(key)], options: { dryRun: true } });
    const failing = { ...item(key), version: 9 };
    expect(verdicts(await resultsOf(fixture.submit({ items: [failing, item(key, 'nobody')] })))).toEqual([
      'version_conflict',
      'not_found',
    ]);
    expect(verdicts(await resultsOf(fixture.submit({ items: [item(key, 'w0', 13)] })))).toEqual([
      'constraint_violation',
    ]);
    expect((await fixture.sql.query('select * from docket.item_keys where key = $1', [key])).rows).toEqual([]);
    const [result] = await resultsOf(fixture.submit({ items: [item(key)] }));
    expect(result).toMatchObject({ changed: true });
    expect(result).not.toHaveProperty('replayed');
  });

  test('that has expired is free again; one of another collection is another', async () => {
    await fixture.reseed(1);
    await fixture.sql.query(`truncate gadgets; insert into gadgets values (1, 'a', 1)`);
    const key = newKey();
    await fixture.submit({ items: [item(key)] });
    const gadget = { id: '1', fields: { count: 2 }, idempotencyKey: key };
    expect(
      (await resultsOf(fixture.submit({ items: [gadget] }, { collection: 'gadgets' })))[0]?.replayed,
    ).toBeUndefined();
    await fixture.sql.query(`update docket.item_keys set expires_at = now() where key = $1`, [key]);
    const [again] = await resultsOf(fixture.submit({ items: [item(key, 'w0', 6)] }));
    expect(again).toMatchObject({ changed: true, version: 3 });
  });
});
