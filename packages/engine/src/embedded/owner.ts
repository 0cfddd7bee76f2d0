import { realpath } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type DataDirectory, databaseName, role } from './data-directory.ts';
import { DataDirectoryInUseError, EmbeddedPostgresError, errorCode, errorMessage, ServerLostError } from './errors.ts';
import type { Postmaster } from './postmaster.ts';
import { isAlive } from './processes.ts';

/** "docket" in ASCII. */
const lockKey = 0x64_6f_63_6b_65_74;
const applicationPrefix = 'docket-owner-';
const waitForDeadOwnerMs = 2_000;
const pollMs = 10;

/** The connection whose session lock makes this process the one owner of the data directory. */
export interface Ownership {
  client: pg.Client;
  /** Whether the database was made now, and so is empty. */
  created: boolean;
  /** Resolves when the connection ended. */
  lost: Promise<void>;
}

/**
 * Connects and becomes the owner, and makes the database if it is missing. Rejects with DataDirectoryInUseError when
 * a living process is the owner (one that was killed is waited for, as its lock ends a moment after it), with
 * ServerLostError when another attempt may succeed.
 */
export async function takeOwnership(directory: DataDirectory, server: Postmaster): Promise<Ownership> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: role,
    password: directory.password,
    // why: advisory locks are per database; in `postgres` this one is out of the application's way
    database: 'postgres',
    application_name: `${applicationPrefix}${process.pid}`,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    ssl: false,
  });
  let broken = false;
  client.on('error', () => {
    broken = true;
  });
  const lost = new Promise<void>((resolve) => {
    client.once('end', resolve);
  });
  try {
    await client.connect();
    await checkDirectory(client, directory);
    await acquireLock(client, directory.path);
    return { client, created: await ensureDatabase(client), lost };
  } catch (error) {
    await client.end().catch(() => undefined);
    if (error instanceof EmbeddedPostgresError) throw error;
    const message = `PostgreSQL in ${directory.path} did not let us in: ${errorMessage(error)}.`;
    if (broken || isConnectionLoss(error)) throw new ServerLostError(message, { cause: error });
    throw new EmbeddedPostgresError(message, { cause: error });
  }
}

/** Whether the error says that the server is starting, stopping, full or gone. */
function isConnectionLoss(error: unknown): boolean {
  const code = errorCode(error);
  if (code === undefined)
    return error instanceof Error && /^(Connection terminated|timeout expired)/.test(error.message);
  // 57P01-57P03: stopping, crashed, starting; 53300: no connection free at this moment
  return /^(57P0[1-3]|53300|08...|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT)$/.test(code);
}

async function checkDirectory(client: pg.Client, { clusterDir, path }: DataDirectory): Promise<void> {
  const { rows } = await client.query<{ data_directory: string }>('show data_directory');
  const served = rows[0]?.data_directory ?? '';
  if ((await realpath(served).catch(() => served)) !== clusterDir) {
    throw new EmbeddedPostgresError(`The PostgreSQL server named in ${path} serves another directory: ${served}.`);
  }
}

async function acquireLock(client: pg.Client, dataDir: string): Promise<void> {
  const deadline = performance.now() + waitForDeadOwnerMs;
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [lockKey]);
    if (rows[0]?.locked) return;
    const holder = await findHolder(client);
    const holderLives = holder !== undefined && isAlive(holder);
    if (holderLives || performance.now() > deadline) throw new DataDirectoryInUseError(dataDir, holder);
    await sleep(pollMs);
  }
}

async function findHolder(client: pg.Client): Promise<number | undefined> {
  const { rows } = await client.query<{ application_name: string }>(
    `select a.application_name
     from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.granted and a.datname = current_database()
       and (l.classid::bigint << 32) | l.objid::bigint = $1`,
    [lockKey],
  );
  const name = rows[0]?.application_name;
  return name?.startsWith(applicationPrefix) ? Number(name.slice(applicationPrefix.length)) : undefined;
}

async function ensureDatabase(client: pg.Client): Promise<boolean> {
  const { rowCount } = await client.query('select from pg_database where datname = $1', [databaseName]);
  if (rowCount !== 0) return false;
  await client.query(`create database ${databaseName}`);
  return true;
}
