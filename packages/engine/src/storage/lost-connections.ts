import type pg from 'pg';
import { Client } from './client.ts';

const lookEveryMs = 500;
/** For so long a connection is in use before it is looked at. */
const inUseMs = 1_500;
/** For so long the server may do nothing for a connection in use before it counts as lost. */
const standstillMs = 2_000;
const probeTimeoutMs = 2_000;

/*
 * A machine or a network that vanishes without a word leaves locks behind on the one side and waits that never end on the other.
 * So PostgreSQL is told to end a transaction that nobody goes on with, and to look after its peers: one that is gone is noticed
 * within seven seconds, also by a statement that waits for a lock.
 */
const sessionSettings: Record<string, string> = {
  idle_in_transaction_session_timeout: '4s',
  tcp_keepalives_idle: '4s',
  tcp_keepalives_interval: '1s',
  tcp_keepalives_count: '3',
  tcp_user_timeout: '7s',
};

/** What tells a server process from every other that ever was: its number may come again. */
const session = "pid || ' ' || extract(epoch from backend_start)";

/**
 * Ends connections of a pool that went silent while they are in use, on both sides, so that who waits for their answer is told that
 * the connection was lost, and their locks are free. Which ones these are only the server can say: those for which it does nothing.
 * A statement that takes long is not mistaken for silence.
 */
export class LostConnections {
  readonly #url: string;
  readonly #applicationName: string;
  readonly #open = new Set<pg.PoolClient>();
  readonly #usedSince = new Map<pg.PoolClient, number>();
  readonly #sessions = new WeakMap<pg.PoolClient, string>();
  readonly #timer: NodeJS.Timeout;
  #looking = false;

  constructor(pool: pg.Pool, { url, applicationName }: { url: string; applicationName: string }) {
    this.#url = url;
    this.#applicationName = applicationName;
    pool.on('connect', (client) => {
      this.#open.add(client);
      // why: what is sent here may fail before whoever asked for the connection listens, and that would end the process
      client.on('error', () => {});
      void this.#prepare(client);
    });
    pool.on('acquire', (client) => this.#usedSince.set(client, performance.now()));
    pool.on('release', (_, client) => this.#usedSince.delete(client));
    pool.on('remove', (client) => {
      this.#open.delete(client);
      this.#usedSince.delete(client);
    });
    this.#timer = setInterval(() => void this.#look(), lookEveryMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  // why not in the startup message: poolers such as PgBouncer refuse settings there
  async #prepare(client: pg.PoolClient): Promise<void> {
    const settings = Object.entries(sessionSettings).map(([name, value]) => `set_config('${name}', '${value}', false)`);
    // why apart, and allowed to fail: not every system that PostgreSQL runs on can do it
    client.query("set client_connection_check_interval = '1s'").catch(() => undefined);
    const asked = `select ${session} as session, ${settings.join(', ')} from pg_stat_activity where pid = pg_backend_pid()`;
    const { rows } = await client.query(asked).catch(() => ({ rows: [] }));
    if (rows[0]) this.#sessions.set(client, rows[0].session);
  }

  async #look(): Promise<void> {
    const longAgo = performance.now() - inUseMs;
    const suspects = [...this.#usedSince].filter(([, since]) => since < longAgo);
    if (suspects.length === 0 || this.#looking) return;
    this.#looking = true;
    const probe = new Client({
      connectionString: this.#url,
      application_name: this.#applicationName,
      query_timeout: probeTimeoutMs,
    });
    probe.on('error', () => {});
    try {
      await probe.connect();
      const idle = await readIdleTimes(
        probe,
        suspects.flatMap(([client]) => this.#sessions.get(client) ?? []),
      );
      const now = performance.now();
      const lost = suspects.filter(
        ([client, since]) =>
          this.#usedSince.get(client) === since && isLost(this.#sessions.get(client), now - since, idle),
      );
      for (const [client] of lost) endAtOnce(client);
      // why: those that nobody uses went silent as well, and would be found one by one by those who use them next
      if (lost.length > 0) for (const client of this.#open) if (!this.#usedSince.has(client)) endAtOnce(client);
      await terminate(
        probe,
        lost.flatMap(([client]) => this.#sessions.get(client) ?? []),
      );
    } catch {
      // The database cannot be reached: nothing is known of the connections.
    } finally {
      this.#looking = false;
      probe.end().catch(() => undefined);
    }
  }
}

/** For how long sessions have done nothing, in milliseconds: 0 for those at work, no entry for those that are gone. */
async function readIdleTimes(probe: pg.Client, sessions: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await probe.query<{ session: string; idle_ms: number }>(
    `select ${session} as session, case when state like 'idle%'
       then extract(epoch from clock_timestamp() - state_change)::float8 * 1000 else 0 end as idle_ms
     from pg_stat_activity where ${session} = any($1)`,
    [sessions],
  );
  return new Map(rows.map((row) => [row.session, row.idle_ms]));
}

/** Frees the locks of sessions that we hear nothing of any more. */
async function terminate(probe: pg.Client, sessions: readonly string[]): Promise<void> {
  if (sessions.length === 0) return;
  await probe.query(`select pg_terminate_backend(pid) from pg_stat_activity where ${session} = any($1)`, [sessions]);
}

/** Lost is what the server ended, what it did nothing for since we began to use it, and what stood still for too long. */
function isLost(own: string | undefined, usedMs: number, idle: ReadonlyMap<string, number>): boolean {
  if (own === undefined) return usedMs > standstillMs;
  const quietMs = idle.get(own);
  return quietMs === undefined || quietMs > Math.min(usedMs, standstillMs);
}

/** Not `end`, which waits for the answers that are outstanding. */
function endAtOnce(client: pg.PoolClient): void {
  const silent = new Error('Connection terminated: nothing was heard on it, and the server does nothing for it.');
  (client as pg.Client).connection.stream.destroy(silent);
}
