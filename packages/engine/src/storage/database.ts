import { type Sql, sql } from './sql.ts';

export interface QueryResult<Row> {
  rows: Row[];
  rowCount: number;
}

/** What the stores need: a pool and a transaction satisfy it alike, so that no store asks which one it has. */
export interface Database {
  query<Row = Record<string, unknown>>(statement: Sql): Promise<QueryResult<Row>>;
}

/**
 * One transaction. Statements are sent at once (pipelined) and run in the order of the calls, so statements that do not need
 * each other's answers should be called together and awaited together.
 */
export interface Transaction extends Database {
  /** Sends COMMIT behind the statements called so far, without waiting for them. Fails if any of them failed. */
  commit(): Promise<void>;
}

export interface Pool extends Database {
  /**
   * Runs `work` in one transaction (read committed): commits when it returns unless it has committed itself, rolls back when
   * it throws. After a lost connection the outcome of a commit is unknown to the caller. One that sends nothing for two seconds
   * counts as lost, since its locks would keep others waiting: nothing slow but statements belongs into `work`.
   */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  end(): Promise<void>;
}

/** The database's time at this moment, RFC 3339; the one clock for everything that is stored. */
export async function readClock(db: Database): Promise<string> {
  const { rows } = await db.query<{ now: string }>(sql`select clock_timestamp() as now`);
  return rows[0]?.now as string;
}
