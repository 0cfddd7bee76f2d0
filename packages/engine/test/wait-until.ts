import pg from 'pg';

/** Looks until a condition holds. Fails when it does not within the time. */
export async function waitUntil(
  holds: () => Promise<boolean> | boolean,
  what: string,
  timeoutMs = 15_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`It did not come to be: ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Until so many connections of an application wait for a lock in this database. */
export async function waitForLock(sql: pg.Pool, applicationName: string, count = 1): Promise<void> {
  await waitUntil(async () => {
    const { rows } = await sql.query(
      `select count(*)::int as waiting from pg_stat_activity
         where datname = current_database() and application_name = $1 and wait_event_type = 'Lock'`,
      [applicationName],
    );
    return rows[0].waiting >= count;
  }, `${count} connections of ${applicationName} wait for a lock`);
}

/** A transaction of somebody else's that holds the locks its statement takes, until it is let go. */
export async function holdLocks(sql: pg.Pool, statement: string): Promise<() => Promise<void>> {
  // why: a connection of its own, so that a test which fails in between does not keep the pool from ending
  const client = new pg.Client({ connectionString: sql.options.connectionString });
  client.on('error', () => {});
  await client.connect();
  await client.query('begin');
  await client.query(statement);
  return () => client.end();
}

/** Cuts connections of an application in this database, and resolves when they are gone. Gives back how many there were. */
export async function cutConnections(sql: pg.Pool, applicationName: string, condition = 'true'): Promise<number> {
  const { rows } = await sql.query<{ pid: number }>(
    `select pid, pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = $1 and ${condition}`,
    [applicationName],
  );
  const pids = rows.map((row) => row.pid);
  const anyLeft = 'select 1 from pg_stat_activity where pid = any($1)';
  await waitUntil(async () => (await sql.query(anyLeft, [pids])).rowCount === 0, 'the connections are cut');
  return pids.length;
}
