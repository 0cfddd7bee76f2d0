import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { Wire } from '../../../../test/wire.ts';
import type { Pool } from '../../src/storage/database.ts';
import { asRequestError, failureKind } from '../../src/storage/errors.ts';
import { createPool } from '../../src/storage/pool.ts';
import { sql } from '../../src/storage/sql.ts';
import { cutConnections, waitUntil } from '../wait-until.ts';

let database: Awaited<ReturnType<typeof createDatabase>>;
let outside: pg.Pool;
let pool: Pool;
beforeAll(async () => {
  database = await createDatabase();
  outside = new pg.Pool({ connectionString: database.url, max: 1 });
  await outside.query('create table numbers (n integer primary key deferrable initially deferred)');
  pool = createPool({ url: database.url, max: 2, applicationName: 'pooled' });
});
beforeEach(() => outside.query('truncate numbers'));
afterAll(async () => {
  await Promise.all([pool?.end(), outside?.end()]);
  await database?.drop();
});

const add = (n: number | string) => sql`insert into numbers values (${n})`;
const stored = async () => (await outside.query('select n from numbers order by 1')).rows.map((row) => row.n);

describe('a transaction', () => {
  test('commits when its work returns, and rolls back when it throws', async () => {
    expect(await pool.transaction(async (tx) => (await tx.query(add(1))).rowCount)).toBe(1);
    const failing = pool.transaction(async (tx) => {
      await tx.query(add(2));
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await stored()).toEqual([1]);
  });

  test('whose work ignores a failed statement fails with that failure, not in silence', async () => {
    const ignoring = pool.transaction(async (tx) => {
      await tx.query(add(1));
      await tx.query(sql`select 1 / ${0}::int`).catch(() => undefined);
    });
    await expect(ignoring).rejects.toMatchObject({ code: '22012' });
    expect(await stored()).toEqual([]);
  });

  test('fails with the cause, whichever of its pipelined statements is looked at first', async () => {
    const pipelined = pool.transaction(async (tx) => {
      const cause = (async () => (async () => await tx.query(add('x')))())();
      await Promise.all([tx.query(add(3)), cause, tx.query(add(4)), tx.commit()].toReversed());
    });
    await expect(pipelined).rejects.toMatchObject({ code: '22P02' });
    expect(await stored()).toEqual([]);
  });

  test('goes on behind a rollback to a savepoint', async () => {
    await pool.transaction(async (tx) => {
      await Promise.all([tx.query(add(1)), tx.query(sql`savepoint before`)]);
      await expect(tx.query(add('x'))).rejects.toMatchObject({ code: '22P02' });
      await expect(tx.query(add(2))).rejects.toMatchObject({ code: '22P02' });
      await tx.query(sql`rollback to savepoint before`);
      await tx.query(add(3));
    });
    expect(await stored()).toEqual([1, 3]);
  });

  test('fails with what COMMIT itself found', async () => {
    const twice = pool.transaction((tx) => Promise.all([tx.query(add(1)), tx.query(add(1)), tx.commit()]));
    await expect(twice).rejects.toMatchObject({ code: '23505' });
  });

  test('whose connection is cut between two statements fails, and the pool serves on', async () => {
    const cut = pool.transaction(async (tx) => {
      await tx.query(add(1));
      expect(await cutConnections(outside, 'pooled', `state = 'idle in transaction'`)).toBe(1);
      await tx.query(add(2));
    });
    const error = await cut.catch((reason: unknown) => reason);
    expect(failureKind(error)).toBe('connection');
    expect(asRequestError(error)).toMatchObject({ code: 'database_unavailable' });
    expect(await stored()).toEqual([]);
    await pool.transaction((tx) => tx.query(add(5)));
    expect(await stored()).toEqual([5]);
  });

  test('leaves a connection that the next one finds clean', async () => {
    for (let n = 0; n < 4; n++) await pool.transaction((tx) => tx.query(add('x'))).catch(() => undefined);
    await pool.transaction((tx) => tx.query(add(1)));
    expect(await stored()).toEqual([1]);
  });
});

test('idle connections that were cut are replaced', async () => {
  await Promise.all([pool.query(sql`select pg_sleep(0)`), pool.query(sql`select pg_sleep(0)`)]);
  await cutConnections(outside, 'pooled');
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => pool.query(sql`select 1 as one`)));
  for (const result of results) {
    if (result.status === 'rejected') expect(failureKind(result.reason)).toBe('connection');
  }
  expect((await pool.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }]);
});

describe('a connection that falls silent', () => {
  let wire: Wire;
  let silenced: Pool;
  beforeEach(async () => {
    wire = new Wire(database.url);
    await wire.connect();
    silenced = createPool({ url: wire.url, max: 3, applicationName: 'silenced' });
  });
  afterEach(async () => {
    await silenced.end();
    await wire.cut();
  });
  const fallSilent = () => {
    wire.fallSilent();
    wire.speak({ thaw: false });
  };

  test('fails what waits on it, gives back its locks, and the pool serves on', async () => {
    const lost = silenced.transaction(async (tx) => {
      await tx.query(add(1));
      await tx.query(sql`lock table numbers in exclusive mode`);
      fallSilent();
      await tx.query(add(2));
    });
    const error = await lost.catch((reason: unknown) => reason);
    expect(failureKind(error)).toBe('connection');
    await outside.query("set lock_timeout = '5s'; truncate numbers");
    await silenced.transaction((tx) => tx.query(add(3)));
    expect(await stored()).toEqual([3]);
  });

  test('while nobody uses it is told from one that works, and does not keep the pool from ending', async () => {
    const three = () => Promise.all(Array.from({ length: 3 }, () => silenced.query(sql`select pg_sleep(0.01)`)));
    await three();
    fallSilent();
    expect(failureKind(await silenced.query(sql`select 1`).catch((error: unknown) => error))).toBe('connection');
    await three();
    fallSilent();
    await silenced.end();
  });

  test('is not taken for one whose statement takes long', async () => {
    await pool.transaction(async (tx) => {
      await tx.query(add(1));
      await tx.query(sql`select pg_sleep(4.5)`);
      await tx.query(add(2));
    });
    expect(await stored()).toEqual([1, 2]);
  });

  test('with a transaction that nobody goes on with is ended', async () => {
    const forgotten = pool.transaction(async (tx) => {
      await tx.query(add(1));
      await waitUntil(async () => {
        const { rows } = await outside.query(
          `select from pg_stat_activity where application_name = 'pooled' and state = 'idle in transaction'`,
        );
        return rows.length === 0;
      }, 'the transaction is ended');
    });
    expect(failureKind(await forgotten.catch((error: unknown) => error))).toBe('connection');
    expect(await stored()).toEqual([]);
  });
});

describe('what a failure means', () => {
  const coded = (code: string) => Object.assign(new Error('x'), { code });
  test.each([
    ['57P01', 'connection'],
    ['25P03', 'connection'],
    ['25006', 'connection'],
    ['53300', 'connection'],
    ['53100', 'exhausted'],
    ['58030', 'exhausted'],
    ['08006', 'connection'],
    ['ECONNREFUSED', 'connection'],
    ['40001', 'conflict'],
    ['40P01', 'conflict'],
    ['55P03', 'timeout'],
    ['57014', 'timeout'],
    ['22003', 'data'],
    ['23505', 'data'],
    ['42P01', 'other'],
  ])('%s: %s', (code, kind) => {
    expect(failureKind(coded(code))).toBe(kind);
  });
  test('a full disk is told as a database that is not available, without a word of what it said', () => {
    expect(asRequestError(coded('53100'))).toMatchObject({
      code: 'database_unavailable',
      message: 'The database has no room or memory left at the moment; nothing was done. Try again later.',
      details: { retryAfter: 2 },
    });
  });
  test('of the driver and of several addresses', async () => {
    expect(failureKind(new Error('Connection terminated unexpectedly'))).toBe('connection');
    expect(failureKind(new AggregateError([coded('ECONNREFUSED'), coded('ECONNREFUSED')]))).toBe('connection');
    expect(failureKind(new Error('something'))).toBe('other');
    expect(failureKind(undefined)).toBe('other');
    const nowhere = createPool({ url: 'postgres://nobody@127.0.0.1:1/none', max: 1, applicationName: 'x' });
    expect(failureKind(await nowhere.query(sql`select 1`).catch((error: unknown) => error))).toBe('connection');
    await nowhere.end();
  });
});
