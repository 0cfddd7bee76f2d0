import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import type { Database, Pool, Transaction } from './database.ts';
import { raw, sql } from './sql.ts';

/** A folder of numbered SQL files (`0001_name.sql`) with a name of its own in the record of applied migrations. */
export interface MigrationSet {
  name: string;
  directory: string;
}

interface Migration {
  set: string;
  number: number;
  file: string;
  text: string;
  checksum: string;
  /** An older program must not run on this schema: the file's first line is `-- breaking`. */
  breaking: boolean;
}

interface Applied {
  set_name: string;
  number: number;
  file: string;
  checksum: string;
  breaking: boolean;
}

/** A schema that this program cannot work with; nothing was changed. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
}

/**
 * Brings the schema up to date: each migration in a transaction of its own, in order, its record first. Processes that start
 * together wait for each other. Throws SchemaError, before any change, when an applied migration was edited since, or when the
 * database holds a newer breaking one.
 */
export async function migrate(pool: Pool, sets: readonly MigrationSet[]): Promise<string[]> {
  const migrations = (await Promise.all(sets.map(readMigrations))).flat();
  await prepare(pool);
  const done: string[] = [];
  for (const migration of [undefined, ...migrations]) {
    await pool.transaction(async (tx) => {
      await lock(tx);
      const applied = await readApplied(tx);
      refuseForeignSchema(migrations, applied);
      if (!migration || isApplied(migration, applied)) return;
      await apply(tx, migration);
      done.push(migration.file);
    });
  }
  return done;
}

/** The files that `migrate` would apply. Changes nothing, and throws SchemaError where `migrate` would before any change. */
export async function pendingMigrations(db: Database, sets: readonly MigrationSet[]): Promise<string[]> {
  const migrations = (await Promise.all(sets.map(readMigrations))).flat();
  const { rows } = await db.query<{ there: boolean }>(
    sql`select to_regclass('docket.migrations') is not null as there`,
  );
  const applied = rows[0]?.there ? await readApplied(db) : [];
  refuseForeignSchema(migrations, applied);
  return migrations.filter((migration) => !isApplied(migration, applied)).map(({ file }) => file);
}

const isApplied = ({ set, number }: Migration, applied: readonly Applied[]) =>
  applied.some((one) => one.set_name === set && one.number === number);

const lock = (tx: Transaction) => tx.query(sql`select pg_advisory_xact_lock(hashtextextended('docket.migrations', 0))`);

async function prepare(pool: Pool): Promise<void> {
  await pool.transaction(async (tx) => {
    await lock(tx);
    await tx.query(sql`create schema if not exists docket`);
    await tx.query(sql`
      create table if not exists docket.migrations (
        set_name text not null,
        number integer not null,
        file text not null,
        checksum text not null,
        breaking boolean not null,
        applied_at timestamptz not null default now(),
        primary key (set_name, number)
      )`);
  });
}

async function readApplied(db: Database): Promise<Applied[]> {
  const { rows } = await db.query<Applied>(
    sql`select set_name, number, file, checksum, breaking from docket.migrations`,
  );
  return rows;
}

function refuseForeignSchema(migrations: readonly Migration[], applied: readonly Applied[]): void {
  for (const one of applied) {
    const known = migrations.find((migration) => migration.set === one.set_name && migration.number === one.number);
    if (known && known.checksum !== one.checksum) {
      throw new SchemaError(
        `The migration ${one.file} of "${one.set_name}" was changed after it had been applied. Restore the file, and put the change into a new migration.`,
      );
    }
    if (!known && one.breaking && migrations.some((migration) => migration.set === one.set_name)) {
      throw new SchemaError(
        `The database has the newer, breaking migration ${one.file} of "${one.set_name}", which this program does not know. Run the version that made it, or a later one.`,
      );
    }
  }
}

async function apply(tx: Transaction, migration: Migration): Promise<void> {
  await tx.query(sql`
    insert into docket.migrations (set_name, number, file, checksum, breaking)
    values (${migration.set}, ${migration.number}, ${migration.file}, ${migration.checksum}, ${migration.breaking})`);
  try {
    await tx.query(raw(migration.text));
  } catch (error) {
    throw new SchemaError(`The migration ${migration.file} of "${migration.set}" failed; nothing of it was applied.`, {
      cause: error,
    });
  }
}

async function readMigrations({ name, directory }: MigrationSet): Promise<Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{4}_.+\.sql$/.test(file)).sort();
  return await Promise.all(
    files.map(async (file, position) => {
      const number = Number(file.slice(0, 4));
      if (number !== position + 1)
        throw new SchemaError(`The migrations of "${name}" are not numbered without gaps: ${file}.`);
      const text = await readFile(joinPath(directory, file), 'utf8');
      const checksum = createHash('sha256').update(text).digest('hex');
      return { set: name, number, file, text, checksum, breaking: text.startsWith('-- breaking') };
    }),
  );
}
