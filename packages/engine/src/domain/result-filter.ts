import type { ItemCode } from './codes.ts';
import type { ItemResult } from './decide.ts';

/** Which results of a job are asked for; what is left out lets all pass. */
export interface ResultFilter {
  status?: ItemResult['status'] | undefined;
  /** Any of these; results without an error have none. */
  codes?: readonly ItemCode[] | undefined;
}

export function passesFilter({ status, error }: ItemResult, filter: ResultFilter): boolean {
  if (filter.status !== undefined && filter.status !== status) return false;
  return filter.codes === undefined || (error !== undefined && filter.codes.includes(error.code));
}

/** Each code that stands in the results, once, sorted. */
export function codesIn(results: readonly ItemResult[]): ItemCode[] {
  const codes = new Set<ItemCode>();
  for (const { error } of results) if (error) codes.add(error.code);
  return [...codes].sort();
}
