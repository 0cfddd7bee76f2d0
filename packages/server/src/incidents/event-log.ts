import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';

const LOG_FILE = new URL('../../data/incident_event_log.csv.gz', import.meta.url);

/** What one row of the log says about its case; null means unknown. As a merge patch it sets the case to exactly that. */
export type IncidentFields = {
  title: string;
  status: string;
  priority: 'low' | 'normal' | 'high' | 'urgent';
  assignee: string | null;
  data: IncidentData;
};

type IncidentData = {
  category: string | null;
  subcategory: string | null;
  symptom: string | null;
  location: string | null;
  problemId: string | null;
  assignmentGroup: string | null;
  impact: Level;
  urgency: Level;
  priorityConfirmed: boolean;
  madeSla: boolean;
  reassignmentCount: number;
  reopenCount: number;
  openedAt: string;
};

type Level = 'low' | 'medium' | 'high';

export type IncidentEvent = {
  caseId: string;
  /** When it happened: ISO 8601, UTC, to the minute. */
  at: string;
  /** The case's own version as the log states it; neither unique nor in order for a few cases. */
  modCount: number;
  fields: IncidentFields;
};

type Row = Record<
  | 'number'
  | 'incident_state'
  | 'reassignment_count'
  | 'reopen_count'
  | 'sys_mod_count'
  | 'made_sla'
  | 'opened_at'
  | 'sys_updated_at'
  | 'location'
  | 'category'
  | 'subcategory'
  | 'u_symptom'
  | 'impact'
  | 'urgency'
  | 'priority'
  | 'assignment_group'
  | 'assigned_to'
  | 'u_priority_confirmation'
  | 'problem_id',
  string
>;

const PRIORITIES = {
  '1 - Critical': 'urgent',
  '2 - High': 'high',
  '3 - Moderate': 'normal',
  '4 - Low': 'low',
} as const;
const LEVELS = { '1 - High': 'high', '2 - Medium': 'medium', '3 - Low': 'low' } as const;

/** All events of the sample log in the order in which they happened; those of one case are in its own order. */
export async function readIncidentEvents(): Promise<IncidentEvent[]> {
  const text = gunzipSync(await readFile(LOG_FILE)).toString('latin1');
  const events = parse<Row>(text, { columns: true }).map(toEvent);
  return sortByTime(events);
}

/** Sorts events that stand grouped by case, each case's in its own order; that order is kept. */
function sortByTime(grouped: IncidentEvent[]): IncidentEvent[] {
  // why: within a case only the file's order is right. `sys_mod_count` repeats in five cases, and the first row of
  // INC0000137 is stamped later than its resolution; sorted by either, a resolved or active case would turn New again and
  // one would be Closed unresolved. So an event counts as no later than the next one of its case, and the sort is stable.
  const events = grouped.toReversed();
  let next: IncidentEvent | undefined;
  for (const event of events) {
    if (next?.caseId === event.caseId && next.at < event.at) event.at = next.at;
    next = event;
  }
  return events.reverse().sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

function toEvent(row: Row): IncidentEvent {
  return {
    caseId: row.number,
    at: parseTime(row.sys_updated_at),
    modCount: Number(row.sys_mod_count),
    fields: {
      title: titleOf(row),
      status: row.incident_state,
      priority: lookUp(PRIORITIES, row.priority),
      assignee: known(row.assigned_to),
      data: {
        category: known(row.category),
        subcategory: known(row.subcategory),
        symptom: known(row.u_symptom),
        location: known(row.location),
        problemId: known(row.problem_id),
        assignmentGroup: known(row.assignment_group),
        impact: lookUp(LEVELS, row.impact),
        urgency: lookUp(LEVELS, row.urgency),
        priorityConfirmed: row.u_priority_confirmation === 'TRUE',
        madeSla: row.made_sla === 'TRUE',
        reassignmentCount: Number(row.reassignment_count),
        reopenCount: Number(row.reopen_count),
        openedAt: parseTime(row.opened_at),
      },
    },
  };
}

function titleOf(row: Row): string {
  const parts = [known(row.category), known(row.subcategory)].filter((part) => part !== null);
  return parts.join(' / ') || 'Uncategorized';
}

function known(value: string): string | null {
  return value === '?' ? null : value;
}

function lookUp<Meaning extends string>(meanings: Record<string, Meaning>, value: string): Meaning {
  const meaning = meanings[value];
  if (meaning === undefined) throw new Error(`The incident log has the value "${value}", which has no meaning here.`);
  return meaning;
}

function parseTime(value: string): string {
  const [, day, month, year, time] = /^(\d\d)-(\d\d)-(\d{4}) (\d\d:\d\d)$/.exec(value) ?? [];
  if (time === undefined) throw new Error(`The incident log has the time "${value}", which is not dd-mm-yyyy hh:mm.`);
  return `${year}-${month}-${day}T${time}:00Z`;
}
