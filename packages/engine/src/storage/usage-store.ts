import type { UsageDay } from '../domain/usage.ts';
import type { Database } from './database.ts';
import { sql } from './sql.ts';

/** Batches that one row counts. While a long transaction keeps old versions of rows alive, each search for a row passes over them. */
const rowBatches = 10_000;

const today = sql`(now() at time zone 'utc')::date`;

/**
 * Counts a batch in the transaction that takes it, under the day (UTC) of that transaction. Waits for nobody: it adds to a row that no
 * other transaction holds, or makes one.
 */
export async function countUsage(
  db: Database,
  tenantId: string,
  { items, credits }: { items: number; credits: number },
): Promise<void> {
  // why not in a snapshot: the row may have been counted on since it was taken, which would fail the transaction
  await db.query(sql`
    merge into docket.usage u
    using (
      select ${tenantId} as tenant_id, ${today} as day, ${items}::bigint as items, ${credits}::numeric as credits, (
        select slot from docket.usage
        where tenant_id = ${tenantId} and day = ${today} and batches < ${rowBatches}
          and current_setting('transaction_isolation') = 'read committed'
        order by slot desc limit 1
        for update skip locked) as free_slot
    ) b on u.tenant_id = b.tenant_id and u.day = b.day and u.slot = b.free_slot
    when matched then
      update set batches = u.batches + 1, items = u.items + b.items, credits = u.credits + b.credits
    when not matched then
      insert (tenant_id, day, batches, items, credits) values (b.tenant_id, b.day, 1, b.items, b.credits)`);
}

/** What was counted on each day of those from `from` to before `to`; days without anything are left out. */
export async function readUsage(
  db: Database,
  tenantId: string,
  { from, to }: { from: string; to: string },
): Promise<UsageDay[]> {
  const { rows } = await db.query<UsageDay>(sql`
    select day, sum(batches)::bigint as batches, sum(items)::bigint as items, sum(credits)::float8 as credits
    from docket.usage where tenant_id = ${tenantId} and day >= ${from}::date and day < ${to}::date
    group by day`);
  return rows;
}
