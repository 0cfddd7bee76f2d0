import { beforeAll, describe, expect, it } from 'vitest';
import { type IncidentEvent, readIncidentEvents } from '../src/incidents/event-log.ts';
import { incidentLifecycle } from '../src/incidents/lifecycle.ts';
import {
  expectedChanges,
  finalStates,
  firstStates,
  type IncidentCase,
  type ReplayItem,
  replayBatches,
} from '../src/incidents/replay.ts';

let events: IncidentEvent[];

beforeAll(async () => {
  events = await readIncidentEvents();
});

describe('the incident log', () => {
  it('holds 5,998 events of 890 cases, in time order', () => {
    expect(events).toHaveLength(5998);
    expect(eventsByCase().size).toBe(890);
    const times = events.map((event) => event.at);
    expect(times).toEqual(times.toSorted());
    expect(times.every((time) => !Number.isNaN(Date.parse(time)))).toBe(true);
  });

  it('maps a row to the fields of a case', () => {
    expect(events.find((event) => event.caseId === 'INC0000045')).toEqual({
      caseId: 'INC0000045',
      at: '2016-02-29T01:23:00Z',
      modCount: 0,
      fields: {
        title: 'Category 55 / Subcategory 170',
        status: 'New',
        priority: 'normal',
        assignee: null,
        data: {
          category: 'Category 55',
          subcategory: 'Subcategory 170',
          symptom: 'Symptom 72',
          location: 'Location 143',
          problemId: null,
          assignmentGroup: 'Group 56',
          impact: 'medium',
          urgency: 'medium',
          priorityConfirmed: false,
          madeSla: true,
          reassignmentCount: 0,
          reopenCount: 0,
          openedAt: '2016-02-29T01:16:00Z',
        },
      },
    });
  });

  it('ends every case as Closed', () => {
    expect(finalStates(events)).toHaveLength(890);
    expect(new Set(finalStates(events).map((state) => state.status))).toEqual(new Set(['Closed']));
  });

  it('keeps a case in its own order where the clock or the version of the log is wrong', () => {
    const own = (caseId: string) => events.filter((event) => event.caseId === caseId);
    expect(own('INC0000137').map((event) => [event.at, event.fields.status])).toEqual([
      ['2016-02-29T09:52:00Z', 'New'],
      ['2016-02-29T09:52:00Z', 'New'],
      ['2016-02-29T11:03:00Z', 'Resolved'],
      ['2016-03-05T12:00:00Z', 'Closed'],
    ]);
    expect(own('INC0000130').map((event) => event.modCount)).toEqual([2, 1, 2, 3, 4, 5]);
  });

  it('keeps the title of a case while its category stays', () => {
    for (const own of eventsByCase().values()) {
      const titles = new Set(own.map(({ fields }) => fields.title));
      const categories = new Set(own.map(({ fields }) => `${fields.data.category}, ${fields.data.subcategory}`));
      expect(titles.size).toBe(categories.size);
    }
  });

  it('moves cases from state to state this often', () => {
    expect(Object.fromEntries(countTransitions())).toEqual({
      'Resolved -> Closed': 890,
      'Active -> Resolved': 380,
      'New -> Active': 321,
      'Awaiting User Info -> Resolved': 246,
      'Active -> Awaiting User Info': 228,
      'New -> Resolved': 222,
      'New -> Awaiting User Info': 80,
      'Awaiting User Info -> Active': 69,
      'Awaiting Problem -> Resolved': 22,
      'Active -> Awaiting Problem': 19,
      'Resolved -> Active': 11,
      'New -> Awaiting Problem': 9,
      'Awaiting Problem -> Active': 7,
      'Awaiting Problem -> Awaiting User Info': 7,
      'Awaiting User Info -> Awaiting Problem': 7,
      'Active -> Awaiting Vendor': 2,
      'Awaiting Evidence -> Resolved': 2,
      'Awaiting User Info -> Awaiting Evidence': 1,
      'Awaiting User Info -> Awaiting Vendor': 1,
      'Awaiting Vendor -> Active': 1,
      'Awaiting Vendor -> Awaiting Evidence': 1,
      'Awaiting Vendor -> Awaiting User Info': 1,
    });
  });
});

describe('the lifecycle of incidents', () => {
  it('allows exactly the moves of the log', () => {
    const allowed = Object.entries(incidentLifecycle.transitions).flatMap(([from, targets]) =>
      targets.map((to) => `${from} -> ${to}`),
    );
    expect(allowed.toSorted()).toEqual([...countTransitions().keys()].toSorted());
  });

  it('names exactly the states of the log', () => {
    const states = new Set(events.map((event) => event.fields.status));
    expect(incidentLifecycle.statuses.toSorted()).toEqual([...states].toSorted());
    expect(incidentLifecycle.statuses).toContain(incidentLifecycle.initial);
  });
});

describe('the replay', () => {
  it.each([1, 100, 1000, 10_000])('leaves the expected states and changes in batches of %i', (size) => {
    const batches = replayBatches(events, size);
    expect(batches.flat()).toHaveLength(5998 - 890);
    expect(batches.slice(0, -1).every((batch) => batch.length === size)).toBe(true);
    expect(batches.at(-1)?.length).toBeLessThanOrEqual(size);

    const { cases, changes } = replay(firstStates(events), batches);
    expect([...cases.values()]).toEqual(finalStates(events));
    expect(changes).toEqual(expectedChanges(events));
  });

  it('expects this many changes', () => {
    const changes = expectedChanges(events);
    expect(changes.size).toBe(890);
    expect([...changes.values()].reduce((sum, count) => sum + count, 0)).toBe(4477);
  });

  it('starts from cases without unknown data', () => {
    expect(firstStates(events).flatMap((state) => Object.values(state.data))).not.toContain(null);
  });

  it('refuses a batch size that is not a whole number of at least 1', () => {
    expect(() => replayBatches(events, 0)).toThrow(RangeError);
    expect(() => replayBatches(events, 1.5)).toThrow(RangeError);
  });
});

function eventsByCase(): Map<string, IncidentEvent[]> {
  return Map.groupBy(events, (event) => event.caseId);
}

function countTransitions(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const own of eventsByCase().values()) {
    for (const [index, event] of own.entries()) {
      const from = own[index - 1]?.fields.status;
      const to = event.fields.status;
      if (from === undefined || from === to) continue;
      counts.set(`${from} -> ${to}`, (counts.get(`${from} -> ${to}`) ?? 0) + 1);
    }
  }
  return counts;
}

/** A server in a few lines: merges each item into its case (RFC 7396) and counts what changed. */
function replay(first: IncidentCase[], batches: ReplayItem[][]) {
  const cases = new Map(first.map((state) => [state.caseId, state]));
  const changes = new Map(first.map((state) => [state.caseId, 1]));
  for (const { id, fields } of batches.flat()) {
    const before = cases.get(id);
    if (before === undefined) throw new Error(`No case ${id}`);
    const data = { ...before.data };
    for (const [name, value] of Object.entries(fields.data)) {
      if (value === null) delete data[name];
      else data[name] = value;
    }
    const after = { ...before, ...fields, data };
    if (sorted(after) !== sorted(before)) changes.set(id, (changes.get(id) ?? 0) + 1);
    cases.set(id, after);
  }
  return { cases, changes };
}

function sorted(state: IncidentCase): string {
  return JSON.stringify([Object.entries(state.data).toSorted(), { ...state, data: null }]);
}
