/** The lifecycle of the case type `incident`: exactly the moves that the sample log makes, so Closed is final. */
export const incidentLifecycle: { statuses: string[]; initial: string; transitions: Record<string, string[]> } = {
  statuses: [
    'New',
    'Active',
    'Awaiting User Info',
    'Awaiting Problem',
    'Awaiting Vendor',
    'Awaiting Evidence',
    'Resolved',
    'Closed',
  ],
  initial: 'New',
  transitions: {
    New: ['Active', 'Awaiting User Info', 'Awaiting Problem', 'Resolved'],
    Active: ['Awaiting User Info', 'Awaiting Problem', 'Awaiting Vendor', 'Resolved'],
    'Awaiting User Info': ['Active', 'Awaiting Problem', 'Awaiting Vendor', 'Awaiting Evidence', 'Resolved'],
    'Awaiting Problem': ['Active', 'Awaiting User Info', 'Resolved'],
    'Awaiting Vendor': ['Active', 'Awaiting User Info', 'Awaiting Evidence'],
    'Awaiting Evidence': ['Resolved'],
    Resolved: ['Active', 'Closed'],
  },
};
