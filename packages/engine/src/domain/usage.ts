import { RequestError } from './codes.ts';

/** What a batch costs, in credits: numbers from 0 to 1,000,000 with at most three decimals. */
export interface Prices {
  /** Of each batch; all that a write of a single record costs. */
  batch: number;
  /** Of each item, in addition. */
  item: number;
}

export const defaultPrices: Prices = { batch: 1, item: 0.5 };

export interface MeteredBatch {
  items: number;
  /** A PATCH or POST of one record. */
  single: boolean;
  dryRun: boolean;
}

/** What was sent, whatever became of its items. */
export interface UsageCounts {
  /** Batches, writes of single records and dry runs among them. */
  batches: number;
  items: number;
  credits: number;
}

export interface UsageDay extends UsageCounts {
  /** `2026-11-21`, UTC. */
  day: string;
}

/** What a tenant has sent in a month. */
export interface Usage {
  /** `2026-11`, UTC. */
  month: string;
  /** Every day that has begun, the first one first. */
  days: UsageDay[];
  total: UsageCounts;
}

/** Months for which usage is kept, the current one among them. */
export const usageMonths = 13;

export function isPrice(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1_000_000 && exact(value) === value;
}

/** The credits that a batch costs. A dry run costs none: it changes nothing. */
export function costOf({ items, single, dryRun }: MeteredBatch, { batch, item }: Prices): number {
  if (dryRun) return 0;
  return exact(single ? batch : batch + item * items);
}

/** In thousandths, which is what prices are made of: sums of other fractions are not quite what they should be. */
function exact(credits: number): number {
  return Math.round(credits * 1_000) / 1_000;
}

/** The month that is asked for, by default that of `today`. Throws `invalid_parameter` for one of which nothing can be known. */
export function usageMonth(given: string | undefined, today: string): string {
  const current = today.slice(0, 7);
  const month = given ?? current;
  if (!/^\d{4}-(0[1-9]|1[0-2])$/.test(month)) {
    throw refused(`${JSON.stringify(month.slice(0, 50))} is no month. Write it as ${current}.`);
  }
  const oldest = firstDay(current, 1 - usageMonths).slice(0, 7);
  if (month > current) throw refused(`${month} has not begun; this month is ${current} (UTC).`);
  if (month < oldest) throw refused(`Usage is kept for ${usageMonths} months; the oldest one is ${oldest}.`);
  return month;
}

function refused(message: string): RequestError {
  return new RequestError('invalid_parameter', message, { errors: [{ pointer: '/month', message }] });
}

/** The first day of the month that is so many months later. */
function firstDay(month: string, later: number): string {
  const [year, number] = month.split('-').map(Number) as [number, number];
  return new Date(Date.UTC(year, number - 1 + later)).toISOString().slice(0, 10);
}

/** The bounds of a month: its first day, and that of the next one. */
export function boundsOf(month: string): { from: string; to: string } {
  return { from: firstDay(month, 0), to: firstDay(month, 1) };
}

/** A month by day: each day up to `today`, also those on which nothing was sent. */
export function usageOf(month: string, today: string, counted: readonly UsageDay[]): Usage {
  const byDay = new Map(counted.map((one) => [one.day, one]));
  const { from, to } = boundsOf(month);
  const days: UsageDay[] = [];
  const total: UsageCounts = { batches: 0, items: 0, credits: 0 };
  for (const date = new Date(from); ; date.setUTCDate(date.getUTCDate() + 1)) {
    const day = date.toISOString().slice(0, 10);
    if (day >= to || day > today) break;
    const { batches, items, credits } = byDay.get(day) ?? { batches: 0, items: 0, credits: 0 };
    days.push({ day, batches, items, credits });
    total.batches += batches;
    total.items += items;
    total.credits = exact(total.credits + credits);
  }
  return { month, days, total };
}
