import { isDeepStrictEqual } from 'node:util';
import type { IncidentEvent, IncidentFields } from './event-log.ts';

/*
 * The plan of a replay, and what it must leave behind. Every function takes the events as `readIncidentEvents` orders them.
 */

/** A case as it is stored: what is unknown is absent from `data`. */
export type IncidentCase = Omit<IncidentFields, 'data'> & {
  caseId: string;
  caseType: 'incident';
  data: Record<string, string | number | boolean>;
};

/** Sets a case to what one event says. A null in `fields.data` removes the member (RFC 7396). */
export type ReplayItem = { id: string; fields: IncidentFields };

/** Every case as of its first event, in order of appearance: what has to be there before the replay. */
export function firstStates(events: readonly IncidentEvent[]): IncidentCase[] {
  return splitFirst(events).first.map(toCase);
}

/** Every case as the whole log leaves it, in order of first appearance: what has to be there after the replay. */
export function finalStates(events: readonly IncidentEvent[]): IncidentCase[] {
  const last = new Map(events.map((event) => [event.caseId, event]));
  return [...last.values()].map(toCase);
}

/** The events after each case's first, in batches of at most `size`. One case may stand in a batch several times. */
export function replayBatches(events: readonly IncidentEvent[], size: number): ReplayItem[][] {
  if (!Number.isInteger(size) || size < 1)
    throw new RangeError(`The batch size must be a whole number of at least 1, not ${size}.`);
  const items = splitFirst(events).rest.map(({ caseId, fields }) => ({ id: caseId, fields }));
  const batches: ReplayItem[][] = [];
  for (let start = 0; start < items.length; start += size) batches.push(items.slice(start, start + size));
  return batches;
}

/** How many changes each case has after the replay: its creation, and every event that says something new. */
export function expectedChanges(events: readonly IncidentEvent[]): Map<string, number> {
  const changes = new Map<string, number>();
  const current = new Map<string, IncidentFields>();
  for (const { caseId, fields } of events) {
    const changed = !isDeepStrictEqual(current.get(caseId), fields);
    if (changed) changes.set(caseId, (changes.get(caseId) ?? 0) + 1);
    current.set(caseId, fields);
  }
  return changes;
}

function splitFirst(events: readonly IncidentEvent[]): { first: IncidentEvent[]; rest: IncidentEvent[] } {
  const seen = new Set<string>();
  const first: IncidentEvent[] = [];
  const rest: IncidentEvent[] = [];
  for (const event of events) {
    (seen.has(event.caseId) ? rest : first).push(event);
    seen.add(event.caseId);
  }
  return { first, rest };
}

function toCase({ caseId, fields }: IncidentEvent): IncidentCase {
  const data: IncidentCase['data'] = {};
  for (const [name, value] of Object.entries(fields.data)) {
    if (value !== null) data[name] = value;
  }
  return { caseId, caseType: 'incident', ...fields, data };
}
