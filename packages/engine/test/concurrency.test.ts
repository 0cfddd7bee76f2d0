import type { Engine, Json, Submission } from '@docket/engine';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { assertInvariants } from './invariants.ts';
import { type Fixture, openFixture, resultsOf, submissionOf, verdicts } from './widgets.ts';

let fixture: Fixture;
let engines: Engine[];
beforeAll(async () => {
  fixture = await openFixture();
  engines = [fixture.engine, await fixture.createEngine()];
  await Promise.all(engines.map((engine) => engine.startWorkers()));
});
afterEach(() => assertInvariants(fixture.sql));
afterAll(() => fixture?.close());

const engineOf = (client: number) => engines[client % 2] as Engine;
const send = (client: number, body: Json, rest: Partial<Submission> = {}) =>
  engineOf(client).submit(submissionOf(engineOf(client), body, rest));

/** The changes of each record are as many as its version says: `assertInvariants` proves the rest. */
async function countChanges(): Promise<number> {
  const { rows } = await fixture.sql.query('select count(*)::int as n from docket.changes');
  return rows[0].n;
}

test('batches over the same records in opposite order neither fail nor lose an update', async () => {
  const ids = await fixture.reseed(200);
  const rounds = 12;
  const clients = Array.from({ length: 8 }, async (_, client) => {
    for (let round = 0; round < rounds; round++) {
      const order = client % 2 ? ids : ids.toReversed();
      const options = client % 4 === 3 ? { mode: 'async', waitForCompletion: true } : {};
      const items = order.map((id) => ({ id, fields: { note: `${client} ${round}` } }));
      const results = await resultsOf(send(client, { items, options } as Json));
      expect(new Set(verdicts(results))).toEqual(new Set(['changed']));
    }
  });
  await Promise.all(clients);
  expect(await countChanges()).toBe(8 * rounds * 200);
});

test('single writes between batches are neither lost nor overwritten', async () => {
  const ids = await fixture.reseed(50);
  const batches = Array.from({ length: 3 }, async (_, client) => {
    for (let round = 0; round < 15; round++) {
      await resultsOf(
        send(
          client,
          ids.map((id) => ({ id, tags: { [`batch ${client}`]: round } })),
        ),
      );
    }
  });
  const singles = Array.from({ length: 5 }, async (_, client) => {
    for (let round = 0; round < 40; round++) {
      const id = `w${(client * 7 + round) % 50}`;
      const [result] = await resultsOf(
        send(client, [{ id, tags: { [`single ${client} ${round}`]: true } }], { single: true }),
      );
      expect(result).toMatchObject({ status: 'succeeded', changed: true });
    }
  });
  await Promise.all([...batches, ...singles]);
  const { rows } = await fixture.sql.query('select tags from widgets');
  expect(rows.flatMap((row) => Object.keys(row.tags)).filter((name) => name.startsWith('single'))).toHaveLength(200);
  for (const { tags } of rows) expect(tags).toMatchObject({ 'batch 0': 14, 'batch 1': 14, 'batch 2': 14 });
});

test('of writers that expect the same version one wins', async () => {
  await fixture.reseed(1);
  for (let version = 1; version <= 10; version++) {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, client) =>
        resultsOf(send(client, [{ id: 'w0', note: `${version} ${client}`, version }])),
      ),
    );
    expect(answers.flatMap(verdicts).toSorted()).toEqual(['changed', ...Array(7).fill('version_conflict')]);
  }
});

test('a read that starts after an acknowledgement sees it, through another process too', async () => {
  const ids = await fixture.reseed(20);
  const acknowledged = new Map(ids.map((id) => [id, 1]));
  let writing = true;
  const noteAll = (results: { id: string; version?: number }[]) => {
    for (const { id, version = 0 } of results) acknowledged.set(id, Math.max(version, acknowledged.get(id) ?? 0));
  };
  const writers = [
    (async () => {
      for (let round = 0; round < 40; round++)
        noteAll(
          await resultsOf(
            send(
              0,
              ids.map((id) => ({ id, note: `s ${round}` })),
            ),
          ),
        );
    })(),
    (async () => {
      const options = { mode: 'async', waitForCompletion: true };
      for (let round = 0; round < 20; round++) {
        noteAll(
          await resultsOf(
            send(0, { items: ids.map((id) => ({ id, fields: { note: `j ${round}` } })), options } as Json),
          ),
        );
      }
    })(),
  ];
  let reads = 0;
  const readers = Array.from({ length: 12 }, async (_, client) => {
    for (let n = client; writing; n++) {
      const id = ids[n % ids.length] as string;
      const known = acknowledged.get(id) as number;
      const record = await engineOf(client + 1).readRecord('acme', 'widgets', id);
      reads += 1;
      if ((record?.version ?? 0) < known)
        throw new Error(`${id} was read at ${record?.version} after ${known} was acknowledged.`);
    }
  });
  await Promise.all(writers).finally(() => {
    writing = false;
  });
  await Promise.all(readers);
  expect(reads).toBeGreaterThan(500);
});
