import { boundsOf, costOf, type MeteredBatch, type Prices, type Usage, usageMonth, usageOf } from '../domain/usage.ts';
import { type Database, readClock } from '../storage/database.ts';
import { countUsage, readUsage } from '../storage/usage-store.ts';

/** Counts a batch, within the transaction that takes it. To be sent behind all else, right before COMMIT. */
export type Meter = (db: Database, tenantId: string, batch: MeteredBatch) => Promise<void>;

export function meterOf(prices: Prices): Meter {
  return (db, tenantId, batch) => countUsage(db, tenantId, { items: batch.items, credits: costOf(batch, prices) });
}

/** What a tenant has sent in a month; see `Engine.usage`. */
export async function usage(
  db: Database,
  { tenantId, month }: { tenantId: string; month?: string | undefined },
): Promise<Usage> {
  const today = (await readClock(db)).slice(0, 10);
  const asked = usageMonth(month, today);
  return usageOf(asked, today, await readUsage(db, tenantId, boundsOf(asked)));
}
