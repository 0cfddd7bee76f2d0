import pg from 'pg';
import { Client } from './client.ts';
import type { Database, Pool, QueryResult, Transaction } from './database.ts';
import { failureKind } from './errors.ts';
import { LostConnections } from './lost-connections.ts';
import { arrayLiteral, type Sql } from './sql.ts';

const { builtins } = pg.types;

/** Values as the engine wants them: whole numbers as numbers, times as RFC 3339 text with the database's full precision. */
const parsers = new Map<number, (text: string) => unknown>([
  [builtins.INT8, Number],
  [builtins.TIMESTAMPTZ, rfc3339],
  [builtins.TIMESTAMP, (text) => text.replace(' ', 'T')],
  [builtins.DATE, (text) => text],
]);

/** Rows that were written together have the same times: most are known. */
const knownTimes = new Map<string, string>();
const mostKnownTimes = 64;

function rfc3339(text: string): string {
  const known = knownTimes.get(text);
  if (known !== undefined) return known;
  const time = toRfc3339(text);
  if (knownTimes.size >= mostKnownTimes) knownTimes.clear();
  knownTimes.set(text, time);
  return time;
}

function toRfc3339(text: string): string {
  if (text.endsWith('+00')) return `${text.slice(0, 10)}T${text.slice(11, -3)}Z`;
  const parts = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?([+-]\d\d)(:\d\d)?$/.exec(text);
  if (!parts) return text;
  const [, day, time, fraction = '', hours, minutes = ':00'] = parts;
  // why: a Date holds milliseconds, and a cursor made of a time that lost its microseconds skips or repeats rows
  return new Date(`${day}T${time}${hours}${minutes}`).toISOString().replace('.000', fraction);
}

export const typeParsers: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') => {
    const parse = format === 'binary' ? undefined : parsers.get(oid);
    return parse ?? pg.types.getTypeParser(oid, format as 'text');
  }) as pg.CustomTypesConfig['getTypeParser'],
};

// why: statements are few (arrays carry the values), so each is prepared once on a connection; the bound guards against a caller
// whose filters make many
const statementNames = new Map<string, string>();
const preparedStatements = 500;

function nameOf(text: string): string | undefined {
  const known = statementNames.get(text);
  if (known || statementNames.size >= preparedStatements) return known;
  const name = `docket_${statementNames.size}`;
  statementNames.set(text, name);
  return name;
}

async function send<Row>(client: pg.PoolClient | pg.Pool, statement: Sql): Promise<QueryResult<Row>> {
  const { text } = statement;
  const values = statement.values.map((value) => (Array.isArray(value) ? (arrayLiteral(value) ?? value) : value));
  const name = values.length > 0 ? nameOf(text) : undefined;
  const result = await client.query<never>(name ? { name, text, values } : { text, values });
  return { rows: result.rows as Row[], rowCount: result.rowCount ?? 0 };
}

export interface PoolOptions {
  url: string;
  max: number;
  applicationName: string;
  /** Time after which a statement that was not answered counts as a lost connection, in milliseconds. Default: none. */
  answerTimeoutMs?: number;
  /** Called when an idle connection is lost; the pool replaces it by itself. */
  onIdleError?: (error: Error) => void;
}

/**
 * A pool of pipelining connections. A broken connection is dropped, and one that went silent is noticed, so that the pool serves
 * again as soon as the database does.
 */
export function createPool({ url, max, applicationName, answerTimeoutMs, onIdleError }: PoolOptions): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    application_name: applicationName,
    types: typeParsers,
    // how long a statement waits for a free connection
    connectionTimeoutMillis: 10_000,
    Client,
    idleTimeoutMillis: 60_000,
    pipeline: true,
    ...(answerTimeoutMs === undefined ? {} : { query_timeout: answerTimeoutMs }),
  } as unknown as pg.PoolConfig);
  const lost = new LostConnections(pool, { url, applicationName });
  let ended: Promise<void> | undefined;
  // why not once it ends: then connections may be lost, nobody needs them
  pool.on('error', (error) => {
    if (!ended) onIdleError?.(error);
  });
  return {
    query: (statement) => send(pool, statement),
    transaction: (work) => runTransaction(pool, work),
    end: () => {
      ended ??= pool.end().finally(() => lost.stop());
      return ended;
    },
  };
}

async function runTransaction<Result>(pool: pg.Pool, work: (tx: Transaction) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // why: without a listener, a connection lost between two statements would end the process
  const onError = (error: Error) => {
    broken = error;
  };
  client.on('error', onError);
  const tx = openTransaction(client);
  try {
    const result = await work(tx);
    await tx.commit();
    return result;
  } catch (error) {
    if (failureKind(error) === 'connection') broken ??= error as Error;
    else await client.query('rollback').catch(onError);
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

const abortedTransaction = '25P02';

function openTransaction(client: pg.PoolClient): Transaction {
  let failure: unknown;
  let committed: Promise<void> | undefined;
  // why: statements sent behind one that failed only echo that the transaction is aborted, and may be looked at before it
  const nameCause = (error: unknown): never => {
    const isEcho = (error as { code?: unknown }).code === abortedTransaction;
    if (!isEcho || failure === undefined) failure = error;
    throw failure;
  };
  const track = <Value>(promise: Promise<Value>): Promise<Value> => {
    const tracked = promise.catch(nameCause);
    // why: when several pipelined statements fail, only the first failure is awaited
    tracked.catch(() => undefined);
    return tracked;
  };
  track(client.query('begin'));
  const query: Database['query'] = (statement) => track(send(client, statement));
  const commit = async (): Promise<void> => {
    const { command } = await track(client.query('commit'));
    // why: COMMIT of a failed transaction succeeds and rolls back; the command tag is the only trace
    if (command !== 'COMMIT') throw failure ?? new Error('The transaction was rolled back instead of committed.');
  };
  return {
    query,
    commit: () => {
      committed ??= commit();
      return committed;
    },
  };
}
