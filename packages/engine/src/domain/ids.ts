/** Public form of a job's id: `job_` and 32 hexadecimal digits (a UUID of version 7, so ids sort by time of submission). */
export function presentJobId(uuid: string): string {
  return `job_${uuid.replaceAll('-', '')}`;
}

/** The UUID within a public job id; undefined when it is none. */
export function parseJobId(jobId: string): string | undefined {
  const hex = /^job_([0-9a-f]{32})$/.exec(jobId)?.[1];
  return hex?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
