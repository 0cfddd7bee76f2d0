import type { Case, Docket } from '@docket/client';
import { readIncidentEvents } from '../incidents/event-log.ts';
import { expectedChanges, finalStates, replayBatches } from '../incidents/replay.ts';

export interface ReplayReport {
  cases: number;
  items: number;
  batches: number;
  failures: number;
  unchanged: number;
  seconds: number;
  batchMs: number[];
  reads: number;
  staleReads: number;
  closed: number;
  /** Cases whose history is not as long as the log says, or whose final fields differ from the log's. */
  wrong: string[];
  changes: number;
}

/** Plays the whole incident log in time order as bulk updates, and reads every case of a batch right after its answer. */
export async function replayLog(docket: Docket, batchSize: number): Promise<ReplayReport> {
  const events = await readIncidentEvents();
  const report: ReplayReport = {
    cases: 0,
    items: 0,
    batches: 0,
    failures: 0,
    unchanged: 0,
    seconds: 0,
    batchMs: [],
    reads: 0,
    staleReads: 0,
    closed: 0,
    wrong: [],
    changes: 0,
  };
  for (const items of replayBatches(events, batchSize)) {
    const updates = items.map(({ id, fields }) => ({ caseId: id, ...fields }));
    const started = performance.now();
    const batch = await docket.cases.bulkUpdate(updates, { mode: 'sync' });
    const { summary } = await batch.done();
    report.batchMs.push(performance.now() - started);
    report.batches += 1;
    report.items += summary.total;
    report.failures += summary.failed + summary.notProcessed;
    const versions = new Map<string, number>();
    for await (const { id, version, changed } of batch.results()) {
      if (changed === false) report.unchanged += 1;
      versions.set(id, Math.max(version ?? 0, versions.get(id) ?? 0));
    }
    const reads = await Promise.all([...versions.keys()].map((id) => docket.cases.get(id)));
    report.reads += reads.length;
    report.staleReads += reads.filter((read) => read.version < (versions.get(read.caseId) as number)).length;
  }
  report.seconds = report.batchMs.reduce((sum, ms) => sum + ms, 0) / 1000;
  await compareWithLog(docket, events, report);
  return report;
}

async function compareWithLog(
  docket: Docket,
  events: Awaited<ReturnType<typeof readIncidentEvents>>,
  report: ReplayReport,
): Promise<void> {
  const wanted = new Map(finalStates(events).map((one) => [one.caseId, one]));
  const changes = expectedChanges(events);
  for await (const found of docket.cases.list({ caseType: 'incident' })) {
    report.cases += 1;
    if (found.status === 'Closed') report.closed += 1;
    const history: unknown[] = [];
    for await (const entry of docket.cases.history(found.caseId)) history.push(entry);
    report.changes += history.length;
    const expected = wanted.get(found.caseId);
    const asLogged = expected !== undefined && sameFields(found, expected);
    if (!asLogged || history.length !== changes.get(found.caseId)) report.wrong.push(found.caseId);
  }
}

function sameFields(found: Case, expected: ReturnType<typeof finalStates>[number]): boolean {
  const pick = ({
    title,
    status,
    priority,
    assignee,
    data,
  }: Pick<Case, 'title' | 'status' | 'priority' | 'assignee'> & { data: object }) =>
    JSON.stringify([title, status, priority, assignee, Object.entries(data).sort()]);
  return pick(found) === pick(expected);
}
