import type { Docket } from '@docket/client';

export interface ComplaintReport {
  rounds: number;
  cases: number;
  reads: number;
  staleReads: number;
  failures: number;
  batchMs: number[];
  readMs: number[];
}

/**
 * The classic complaint: a team moves 100 cases from In Progress to Under Review in one call, and reads them at once. Here the
 * reads start when the answer has come, all at the same time.
 */
export async function complain(docket: Docket, rounds: number, cases: number): Promise<ComplaintReport> {
  const report: ComplaintReport = { rounds, cases, reads: 0, staleReads: 0, failures: 0, batchMs: [], readMs: [] };
  const ids = Array.from({ length: cases }, (_, index) => `COMPLAINT-${String(index + 1).padStart(3, '0')}`);
  await docket.cases.bulkCreate(ids.map((caseId) => ({ caseId, title: `Complaint ${caseId}`, status: 'In Progress' })));
  for (let round = 0; round < rounds; round++) {
    const status = round % 2 === 0 ? 'Under Review' : 'In Progress';
    const started = performance.now();
    const batch = await docket.cases.bulkUpdate(ids.map((caseId) => ({ caseId, status })));
    const { summary } = await batch.done();
    report.batchMs.push(performance.now() - started);
    report.failures += summary.failed + summary.notProcessed;
    const reads = await Promise.all(
      ids.map(async (caseId) => {
        const asked = performance.now();
        const read = await docket.cases.get(caseId);
        report.readMs.push(performance.now() - asked);
        return read;
      }),
    );
    report.reads += reads.length;
    report.staleReads += reads.filter((read) => read.status !== status).length;
  }
  return report;
}
