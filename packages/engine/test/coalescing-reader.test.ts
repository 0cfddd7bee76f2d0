import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { CoalescingReader } from '../src/runtime/coalescing-reader.ts';
import { type MountedCollection, mountCollections } from '../src/runtime/mounts.ts';
import type { Database } from '../src/storage/database.ts';
import { waitUntil } from './wait-until.ts';
import { type Fixture, openFixture, widgets } from './widgets.ts';

let fixture: Fixture;
let mount: MountedCollection;
beforeAll(async () => {
  fixture = await openFixture();
  const mounts = await mountCollections(fixture.engine.pool, [{ collection: widgets as never }]);
  mount = mounts.get('widgets') as MountedCollection;
});
beforeEach(() => fixture.reseed(3));
afterAll(() => fixture?.close());

/** The real database, whose answers are held back until they are let through. */
function heldBack() {
  let queries = 0;
  let answered = 0;
  let letThrough = () => {};
  const gate = new Promise<void>((resolve) => {
    letThrough = resolve;
  });
  const db: Database = {
    query: async (statement) => {
      queries += 1;
      const result = await fixture.engine.pool.query<never>(statement);
      answered += 1;
      await gate;
      return result;
    },
  };
  return { db, letThrough, queries: () => queries, answered: () => answered };
}

test('reads of one tick share one query', async () => {
  const { db, letThrough, queries } = heldBack();
  const reader = new CoalescingReader(db);
  letThrough();
  const records = await Promise.all(['w0', 'w1', 'w0', 'nobody'].map((id) => reader.read(mount, 'acme', id)));
  expect(records.map((record) => record?.id)).toEqual(['w0', 'w1', 'w0', undefined]);
  expect(queries()).toBe(1);
});

test('a read never gets the answer of a query that started before it', async () => {
  const { db, letThrough, answered } = heldBack();
  const reader = new CoalescingReader(db, 1);
  const early = reader.read(mount, 'acme', 'w0');
  await waitUntil(() => answered() === 1, 'the database has answered');
  await fixture.submit([{ id: 'w0', size: 7 }]);
  const late = reader.read(mount, 'acme', 'w0');
  letThrough();
  expect((await early)?.version).toBe(1);
  expect((await late)?.version).toBe(2);
});

test('a query that fails is told to its reads only', async () => {
  let failing = true;
  const db: Database = {
    query: (statement) => (failing ? Promise.reject(new Error('gone')) : fixture.engine.pool.query(statement)),
  };
  const reader = new CoalescingReader(db);
  const reads = await Promise.allSettled(['w0', 'w1'].map((id) => reader.read(mount, 'acme', id)));
  expect(reads.map((read) => read.status)).toEqual(['rejected', 'rejected']);
  failing = false;
  expect((await reader.read(mount, 'acme', 'w0'))?.id).toBe('w0');
});

test('an id that no column can hold spoils no other read of its tick', async () => {
  const reads = ['w0', 'w\u0000', '\ud800'].map((id) => fixture.engine.readRecord('acme', 'widgets', id));
  expect((await Promise.all(reads)).map((record) => record?.id)).toEqual(['w0', undefined, undefined]);
});
