import type { CheckedTable } from '../../engine/test/invariants.ts';

/** How cases are stored, for the check of the invariants. */
export const casesTable: CheckedTable = {
  collection: 'cases',
  table: 'docket.cases',
  id: 'case_id',
  columns: {
    caseType: 'case_type',
    title: 'title',
    status: 'status',
    priority: 'priority',
    assignee: 'assignee',
    data: 'data',
  },
};
