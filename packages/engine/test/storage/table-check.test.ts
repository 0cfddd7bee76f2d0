import { type Collection, defineCollection, TableError } from '@docket/engine';
import pg from 'pg';
import Type from 'typebox';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { mountCollections } from '../../src/runtime/mounts.ts';
import type { Pool } from '../../src/storage/database.ts';
import { createPool } from '../../src/storage/pool.ts';

let database: Awaited<ReturnType<typeof createDatabase>>;
let client: pg.Client;
let pool: Pool;
beforeAll(async () => {
  database = await createDatabase();
  pool = createPool({ url: database.url, max: 1, applicationName: 'checking' });
  client = new pg.Client(database.url);
  await client.connect();
});
afterAll(async () => {
  await Promise.all([client?.end(), pool?.end()]);
  await database?.drop();
});

function define(table: string, changes: object = {}): Collection<never> {
  return defineCollection({
    name: table.replace(/.*\./, ''),
    idField: 'thingId',
    table: { name: table, id: 'id', tenant: 'tenant_id', version: 'version', updatedAt: 'updated_at', ...changes },
    fields: Type.Object({
      title: Type.String(),
      count: Type.Integer(),
      ratio: Type.Optional(Type.Number()),
      done: Type.Optional(Type.Boolean()),
      data: Type.Optional(Type.Object({})),
      list: Type.Optional(Type.Array(Type.String())),
      level: Type.Optional(Type.Union([Type.Literal('low'), Type.Literal('high')])),
      any: Type.Optional(Type.Unknown()),
    }),
  }) as Collection<never>;
}
const check = (...collections: Collection<never>[]) =>
  mountCollections(
    pool,
    collections.map((collection) => ({ collection })),
  );
async function problemsOf(...collections: Collection<never>[]): Promise<string[]> {
  const error = await check(...collections).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(TableError);
  return (error as Error).message.split('\n').slice(1);
}

test('a table that fits, in any of the types allowed, passes', async () => {
  await client.query(`create type level as enum ('low', 'high');
    create schema shop;
    create table shop.fits (tenant_id varchar(50) not null, id uuid not null, version bigint not null, updated_at timestamptz,
      title varchar(20), count numeric(10, 0), ratio real, done boolean, data jsonb, list json, level level, "any" text,
      made_by text not null default 'us', serial integer not null generated always as identity, primary key (id, tenant_id));`);
  await check(define('shop.fits'));
});

test('every difference of every table is named in one error', async () => {
  await client.query(`create table differs (tenant_id text not null, id integer, version text, title integer, count text,
    ratio text, done text, data text, list text, level integer, "any" text, region text not null, owner text not null)`);
  expect(await problemsOf(define('differs'), define('nowhere'))).toEqual([
    '- collection "differs": public.differs."version" (the version) is text; it must be integer, bigint.',
    '- collection "differs": public.differs has no column "updated_at" (updatedAt).',
    expect.stringContaining('"title" (the field title) is integer; it must be text'),
    expect.stringContaining('"count" (the field count) is text; it must be integer'),
    expect.stringContaining('"ratio" (the field ratio) is text; it must be numeric'),
    expect.stringContaining('"done" (the field done) is text; it must be boolean'),
    expect.stringContaining('"data" (the field data) is text; it must be json'),
    expect.stringContaining('"list" (the field list) is text; it must be json'),
    expect.stringContaining('"level" (the field level) is integer; it must be text'),
    '- collection "differs": public.differs has no unique index on ("tenant_id", "id"), so an id may not name one record.',
    '- collection "differs": public.differs requires "region", "owner", which no field maps: new records could not be created.',
    '- collection "nowhere": There is no table public.nowhere.',
  ]);
});

test.each([
  ['partial', 'create unique index on indexed (tenant_id, id) where done'],
  ['of an expression', 'create unique index on indexed (tenant_id, lower(id))'],
  ['of more columns', 'create unique index on indexed (tenant_id, id, title)'],
  ['with an included column that is none of the key', 'create unique index on indexed (tenant_id) include (id)'],
  ['not unique', 'create index on indexed (tenant_id, id)'],
])('an index that is %s does not identify a record', async (_, statement) => {
  await client.query(`drop table if exists indexed; create table indexed (tenant_id text, id text, version integer, updated_at timestamptz,
    title text, count integer, ratio real, done boolean, data json, list json, level text, "any" text); ${statement}`);
  expect(await problemsOf(define('indexed'))).toEqual([
    expect.stringContaining('no unique index on ("tenant_id", "id")'),
  ]);
  await client.query('alter table indexed add unique (id)');
  await check(define('indexed'));
});
