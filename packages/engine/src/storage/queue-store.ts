import type { Queue } from '../domain/queue.ts';
import type { Database } from './database.ts';
import { empty, sql } from './sql.ts';

/** What waits to be applied, of one tenant or (without one) of all, as this statement sees it. */
export async function readQueue(db: Database, tenantId?: string): Promise<Queue> {
  const ofTenant = tenantId === undefined ? empty : sql`and tenant_id = ${tenantId}`;
  const processed = sql`succeeded + failed + not_processed`;
  const { rows } = await db.query<Queue>(sql`
    select count(*) as jobs,
      coalesce(sum(case when total = 0 then received else total - (${processed}) end), 0) as items,
      coalesce(sum(${processed}) filter (where status = 'running')
        / extract(epoch from clock_timestamp() - min(started_at) filter (where status = 'running')), 0)::float8
        as "itemsPerSecond"
    from docket.jobs where status in ('pending', 'running', 'paused') ${ofTenant}`);
  return rows[0] as Queue;
}

/** Makes those who add to a queue come one by one, until their transactions end. */
export async function lockQueues(db: Database, tenantId: string): Promise<void> {
  // why two: the tenant's alone would let two tenants pass the bound of all
  const names = [`docket.queue ${JSON.stringify(tenantId)}`, 'docket.queue'];
  await Promise.all(names.map((name) => db.query(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`)));
}
