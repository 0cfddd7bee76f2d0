import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import type { Pool } from '../../src/storage/database.ts';
import { type MigrationSet, migrate, pendingMigrations, SchemaError } from '../../src/storage/migrate.ts';
import { createPool } from '../../src/storage/pool.ts';
import { sql } from '../../src/storage/sql.ts';

let folder: string;
let database: Awaited<ReturnType<typeof createDatabase>>;
let pools: Pool[];
const open = () => {
  const pool = createPool({ url: database.url, max: 2, applicationName: 'migrating' });
  pools.push(pool);
  return pool;
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'migrations-'));
  database = await createDatabase();
  pools = [];
});
afterEach(async () => {
  await Promise.all(pools.map((pool) => pool.end()));
  await database.drop();
  await rm(folder, { recursive: true });
});

async function setOf(name: string, files: Record<string, string>): Promise<MigrationSet> {
  const directory = join(folder, name);
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  for (const [file, text] of Object.entries(files)) await writeFile(join(directory, file), text);
  return { name, directory };
}
const first = { '0001_a.sql': 'create table a (n integer); insert into a values (1);' };
const second = { ...first, '0002_b.sql': 'create table b (n integer);' };
const failsWith = (message: string) =>
  expect.objectContaining({ name: 'SchemaError', message: expect.stringContaining(message) });

test('twenty processes at once apply each migration once', async () => {
  const set = await setOf('own', second);
  const done = await Promise.all(Array.from({ length: 20 }, () => migrate(open(), [set])));
  expect(done.flat().sort()).toEqual(['0001_a.sql', '0002_b.sql']);
  const { rows } = await open().query(sql`select count(*) as n from a`);
  expect(rows).toEqual([{ n: 1 }]);
});

test('what is new is applied, what is there is left alone; sets do not know each other', async () => {
  const pool = open();
  expect(await migrate(pool, [await setOf('own', first)])).toEqual(['0001_a.sql']);
  const other = await setOf('other', { '0001_c.sql': 'create table c (n integer);', 'notes.md': '' });
  expect(await migrate(pool, [await setOf('own', second), other])).toEqual(['0002_b.sql', '0001_c.sql']);
  expect(await migrate(pool, [other])).toEqual([]);
});

test('what is pending is told without a change, and refused where applying it would be', async () => {
  const pool = open();
  const set = await setOf('own', second);
  expect(await pendingMigrations(pool, [set])).toEqual(['0001_a.sql', '0002_b.sql']);
  const { rows } = await pool.query(sql`select count(*)::int as schemas from pg_namespace where nspname = 'docket'`);
  expect(rows).toEqual([{ schemas: 0 }]);
  await migrate(pool, [await setOf('own', first)]);
  expect(await pendingMigrations(pool, [await setOf('own', second)])).toEqual(['0002_b.sql']);
  const edited = await setOf('own', { '0001_a.sql': 'select 1;' });
  await expect(pendingMigrations(pool, [edited])).rejects.toThrow(SchemaError);
});

test('a file that was edited after it had been applied is refused, before any change', async () => {
  const pool = open();
  await migrate(pool, [await setOf('own', first)]);
  const edited = { ...second, '0001_a.sql': 'create table a (n bigint);' };
  await expect(migrate(pool, [await setOf('own', edited)])).rejects.toEqual(
    failsWith('0001_a.sql of "own" was changed'),
  );
  await expect(pool.query(sql`select * from b`)).rejects.toMatchObject({ code: '42P01' });
});

test('a schema that a later version broke is refused; one that it only added to is accepted', async () => {
  const pool = open();
  const old = await setOf('own', first);
  await migrate(pool, [await setOf('own', second)]);
  expect(await migrate(pool, [await setOf('own', first)])).toEqual([]);
  await migrate(pool, [await setOf('own', { ...second, '0003_c.sql': '-- breaking\ndrop table a;' })]);
  await setOf('own', first);
  await expect(migrate(pool, [old])).rejects.toEqual(failsWith('newer, breaking migration 0003_c.sql'));
});

test('a migration that fails leaves nothing, and those before it stay', async () => {
  const pool = open();
  const broken = { ...first, '0002_bad.sql': 'create table half (n integer); create table a (n integer);' };
  await expect(migrate(pool, [await setOf('own', broken)])).rejects.toEqual(failsWith('0002_bad.sql of "own" failed'));
  await expect(pool.query(sql`select * from half`)).rejects.toMatchObject({ code: '42P01' });
  expect(await migrate(pool, [await setOf('own', second)])).toEqual(['0002_b.sql']);
});

test('the failure of a migration names the reason', async () => {
  const set = await setOf('own', { '0001_bad.sql': 'selec 1;' });
  const error = await migrate(open(), [set]).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SchemaError);
  expect((error as SchemaError).cause).toMatchObject({ code: '42601' });
});

test('a gap in the numbers is refused', async () => {
  const set = await setOf('own', { '0001_a.sql': '', '0003_c.sql': '' });
  await expect(migrate(open(), [set])).rejects.toEqual(failsWith('without gaps: 0003_c.sql'));
});
