import { type Collection, defineCollection, type JsonObject } from '@docket/engine';
import pg from 'pg';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { type MountedCollection, mountCollections } from '../../src/runtime/mounts.ts';
import { listRecords } from '../../src/runtime/record-lists.ts';
import type { Pool } from '../../src/storage/database.ts';
import { createPool } from '../../src/storage/pool.ts';

/** One shape over three kinds of id. */
function define(name: string): Collection<never> {
  return defineCollection({
    name,
    idField: 'key',
    table: { name, id: 'id', tenant: 'tenant', version: 'version', createdAt: 'created_at', updatedAt: 'updated_at' },
    fields: Type.Object({
      title: Type.String(),
      size: Type.Integer(),
      price: Type.Number(),
      flag: Type.Optional(Type.Boolean()),
      data: Type.Optional(Type.Object({}, { additionalProperties: true })),
      due: Type.Optional(Type.String()),
    }),
    filters: {
      title: { op: 'equals', field: 'title' },
      size: { op: 'equals', field: 'size' },
      price: { op: 'equals', field: 'price' },
      flag: { op: 'equals', field: 'flag' },
      since: { op: 'atLeast', field: 'updatedAt' },
      q: { op: 'contains', fields: ['key', 'title'] },
    },
    sortable: ['title', 'size', 'price'],
  }) as Collection<never>;
}

const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
let database: Awaited<ReturnType<typeof createDatabase>>;
let client: pg.Client;
let pool: Pool;
let mounts: ReadonlyMap<string, MountedCollection>;
const mountOf = (name: string) => mounts.get(name) as MountedCollection;

beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client(database.url);
  await client.connect();
  for (const [name, type] of [
    ['texts', 'text'],
    ['numbers', 'integer'],
    ['bigs', 'bigint'],
    ['uuids', 'uuid'],
  ]) {
    await client.query(`create table ${name} (tenant text not null, id ${type} not null, version integer not null default 1,
      title text not null, size integer not null, price numeric(12, 2) not null, flag boolean, data jsonb, due timestamptz,
      created_at timestamptz not null, updated_at timestamptz not null, primary key (tenant, id))`);
  }
  // why: times come with the session's offset, and must keep their microseconds all the same
  await client.query(`alter database ${new URL(database.url).pathname.slice(1)} set timezone = 'Asia/Kolkata'`);
  pool = createPool({ url: database.url, max: 2, applicationName: 'storing' });
  const collections = ['texts', 'numbers', 'bigs', 'uuids'].map((name) => ({ collection: define(name) }));
  mounts = await mountCollections(pool, collections);
  await client.query(`insert into texts select 'acme', 't' || n, 1, 'title ' || n % 7, n % 5, n / 2.0, n % 2 = 0, null, null,
    '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 microsecond', '2026-01-01T00:00:00Z'::timestamptz + n % 3 * interval '1 microsecond'
    from generate_series(1, 60) n`);
  await client.query(
    `insert into texts select 'other', id, 1, 'theirs', 0, 0, true, null, null, now(), now() from texts`,
  );
});
afterAll(async () => {
  await Promise.all([client?.end(), pool?.end()]);
  await database?.drop();
});

describe('an id that its column cannot hold names no record', () => {
  test.each([
    [
      'numbers',
      ['7', '007', '7.0', '+7', ' 7', '2147483648', '-2147483649', 'seven', '', '7\u0000', '1e1', '9'.repeat(30)],
    ],
    ['bigs', ['7', '9223372036854775808', '7n', '0x7', 'x']],
    ['uuids', [uuid(7), uuid(7).toUpperCase(), uuid(7).replaceAll('-', ''), `{${uuid(7)}}`, '7', '\u0000']],
    ['texts', ['t7', 't7\u0000', 't\ud800', ' t7']],
  ])('%s', async (name, ids) => {
    const { store } = mountOf(name);
    await client.query(
      `insert into ${name} values ('acme', $1, 3, 'T', 1, 1, null, null, null, now(), now()) on conflict do nothing`,
      [ids[0]],
    );
    for (const id of ids) {
      const found = await store.read(pool, 'acme', [id]);
      expect([id, found.size]).toEqual([id, id === ids[0] ? 1 : 0]);
    }
    const all = await store.read(pool, 'acme', ids);
    expect([...all.keys()]).toEqual([ids[0]]);
  });
});

test('values come back as they went in', async () => {
  const { store } = mountOf('uuids');
  const fields: JsonObject = {
    title: 'quote \' and \\ and {curly,"list"} 🙂',
    size: -3,
    price: 1234567.89,
    flag: false,
    data: { a: [1, null, 'x,y'], 'k"': {} },
    due: null,
  };
  const state = {
    id: uuid(1),
    version: 1,
    fields,
    createdAt: '2026-01-01T00:00:00.123456Z',
    updatedAt: '2026-01-01T00:00:00.123456Z',
  };
  await pool.transaction(async (tx) => {
    expect(await store.insert(tx, 'acme', [state])).toEqual(new Set([uuid(1)]));
    expect(await store.insert(tx, 'acme', [state])).toEqual(new Set());
  });
  expect((await store.read(pool, 'acme', [uuid(1)])).get(uuid(1))).toEqual(state);
  const next = {
    ...state,
    version: 2,
    fields: { ...fields, data: null, title: 'T', flag: null },
    updatedAt: '2026-01-02T00:00:00.000001Z',
  };
  await pool.transaction((tx) => store.update(tx, 'acme', [next], ['data', 'title', 'flag']));
  expect((await store.read(pool, 'acme', [uuid(1)])).get(uuid(1))).toEqual(next);
});

test('fields that are not asked for are not read, nor are times then', async () => {
  const { store } = mountOf('texts');
  for (const read of [store.read, store.lock, store.lockAvailable]) {
    const records = await pool.transaction((tx) => read.call(store, tx, 'acme', ['t3'], new Set(['price', 'nothing'])));
    expect([...records.values()]).toEqual([
      { id: 't3', version: 1, fields: { price: 1.5 }, createdAt: null, updatedAt: null },
    ]);
  }
});

test('a write that finds a record missing fails instead of skipping it', async () => {
  const { store } = mountOf('texts');
  const record = (await store.read(pool, 'acme', ['t1'])).get('t1');
  if (!record) throw new Error('t1 is not there.');
  const write = (tenant: string, id: string) =>
    pool.transaction((tx) => store.update(tx, tenant, [record, { ...record, id }], ['size']));
  await expect(write('acme', 'gone')).rejects.toMatchObject({ code: '22012' });
  await expect(write('nobody', 't2')).rejects.toMatchObject({ code: '22012' });
});

describe('filters', () => {
  const idsOf = async (where: JsonObject) =>
    (await listRecords(pool, mountOf('texts'), { tenantId: 'acme', where, limit: 200 })).items.map((one) => one.id);

  test('select by value, list, null, number, truth, time and part', async () => {
    await client.query(`update texts set flag = null where tenant = 'acme' and id = 't60'`);
    expect(await idsOf({ title: 'title 3', size: 3 })).toEqual(['t3', 't38']);
    expect(await idsOf({ size: ['3', 4], title: ['title 1', 'title 2'] })).toEqual([
      't23',
      't29',
      't43',
      't44',
      't58',
      't8',
      't9',
    ]);
    expect(await idsOf({ flag: null })).toEqual(['t60']);
    expect((await idsOf({ flag: 'true' })).length).toBe(29);
    expect(await idsOf({ price: 12.5 })).toEqual(['t25']);
    expect(await idsOf({ since: '2026-01-01T05:30:00.000002+05:30', size: 0 })).toEqual(['t20', 't35', 't5', 't50']);
    expect(await idsOf({ q: 'T59' })).toEqual(['t59']);
  });

  test('take what looks like a wildcard as it is', async () => {
    await client.query(`update texts set title = '100%_\\sure' where tenant = 'acme' and id = 't1'`);
    for (const q of ['%', '_', '\\', '%_\\', '100%']) expect([q, await idsOf({ q })]).toEqual([q, ['t1']]);
    expect(await idsOf({ q: '1__%' })).toEqual([]);
  });

  test.each<[JsonObject, string]>([
    [{ nope: 1 }, 'unknown_option'],
    [{ toString: 1 }, 'unknown_option'],
    [{ title: {} }, 'invalid_parameter'],
    [{ title: [] }, 'invalid_parameter'],
    [{ title: ['a', null] }, 'invalid_parameter'],
    [{ title: [['a']] }, 'invalid_parameter'],
    [{ title: 'a\u0000' }, 'invalid_parameter'],
    [{ title: ['ok', '\ud800'] }, 'invalid_parameter'],
    [{ size: 'three' }, 'invalid_parameter'],
    [{ size: '' }, 'invalid_parameter'],
    [{ size: ' ' }, 'invalid_parameter'],
    [{ size: '0x10' }, 'invalid_parameter'],
    [{ size: true }, 'invalid_parameter'],
    [{ size: 'Infinity' }, 'invalid_parameter'],
    [{ size: 'NaN' }, 'invalid_parameter'],
    [{ flag: 'yes' }, 'invalid_parameter'],
    [{ flag: 1 }, 'invalid_parameter'],
    [{ since: 'yesterday' }, 'invalid_parameter'],
    [{ since: '2026-01-01' }, 'invalid_parameter'],
    [{ since: '2026-01-01T00:00:00' }, 'invalid_parameter'],
    [{ since: '2026-13-01T00:00:00Z' }, 'invalid_parameter'],
    [{ since: '0000-01-01T00:00:00Z' }, 'invalid_parameter'],
    [{ since: '2026-01-01T00:00.5Z' }, 'invalid_parameter'],
    [{ since: 5 }, 'invalid_parameter'],
    [{ q: '' }, 'invalid_parameter'],
    [{ q: 5 }, 'invalid_parameter'],
    [{ q: 'a\u0000' }, 'invalid_parameter'],
  ])('%j is refused as %s, before the database sees it', async (where, code) => {
    await expect(idsOf(where)).rejects.toMatchObject({ code });
  });

  test('with numbers that no column holds select nothing', async () => {
    expect(await idsOf({ size: 1e300 })).toEqual([]);
    expect(await idsOf({ size: [1.5, '-99999999999'] })).toEqual([]);
  });
});

describe('a walk over all pages', () => {
  test.each(['key', '-key', 'title', '-title', 'size', '-price', 'createdAt', '-createdAt', 'updatedAt', '-updatedAt'])(
    'sorted by %s sees each record once, in order',
    async (sort) => {
      const walk = async (limit: number) => {
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const page = await listRecords(pool, mountOf('texts'), { tenantId: 'acme', where: {}, sort, limit, cursor });
          expect(page.items.length).toBeLessThanOrEqual(limit);
          seen.push(...page.items.map((one) => one.id));
          cursor = page.nextCursor ?? undefined;
          if (seen.length > 200) throw new Error('The walk does not end.');
        } while (cursor);
        return seen;
      };
      const all = await walk(200);
      expect(new Set(all).size).toBe(all.length);
      expect(all.length).toBeGreaterThanOrEqual(60);
      expect(await walk(7)).toEqual(all);
      expect(await walk(1)).toEqual(all);
    },
  );

  const page = (params: { sort?: string; cursor?: string; where?: JsonObject }) =>
    listRecords(pool, mountOf('texts'), { tenantId: 'acme', where: {}, limit: 2, ...params });

  test('is refused with other filters, another sort, or a cursor that nobody gave out', async () => {
    const { nextCursor } = await page({ sort: 'size' });
    const cursor = nextCursor as string;
    for (const wrong of [{ cursor }, { sort: '-size', cursor }, { sort: 'size', cursor, where: { size: 1 } }]) {
      await expect(page(wrong)).rejects.toMatchObject({ code: 'invalid_parameter' });
    }
    const scope = JSON.parse(Buffer.from(cursor, 'base64url').toString())[0];
    for (const place of [[], ['x'], ['x', 't1'], [1, 5], [{}, 't1'], [true, 't1'], [1, 't\u0000'], [1, 't1', 2]]) {
      const forged = Buffer.from(JSON.stringify([scope, ...place])).toString('base64url');
      await expect(page({ sort: 'size', cursor: forged })).rejects.toMatchObject({ code: 'invalid_parameter' });
    }
  });

  test('by an unknown sort is refused', async () => {
    for (const sort of ['', '-', 'flag', 'nope', '--key']) {
      await expect(page({ sort })).rejects.toMatchObject({ code: 'invalid_parameter' });
    }
  });
});

test('a tenant sees its own records only', async () => {
  const { store } = mountOf('texts');
  expect((await store.read(pool, 'other', ['t1'])).get('t1')?.fields.title).toBe('theirs');
  expect((await store.read(pool, 'nobody', ['t1'])).size).toBe(0);
  expect(await store.count(pool, 'nobody', {})).toBe(0);
  expect(await store.count(pool, 'other', { title: 'theirs' })).toBe(await store.count(pool, 'other', {}));
  expect(await store.selectIds(pool, 'acme', { title: 'theirs' }, 10)).toEqual([]);
});
