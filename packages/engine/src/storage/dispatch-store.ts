import type { Pool } from './database.ts';
import { sql } from './sql.ts';

export interface RunnableJob {
  tenantId: string;
  jobUuid: string;
}

/**
 * The job to serve next: highest priority, then the tenant served longest ago, then the job served longest ago. Marks it as
 * served; losing that mark in a crash is harmless, so it is not waited for on disk. `except` are jobs in which this worker
 * found nothing to claim just now.
 */
export async function pickRunnableJob(pool: Pool, except: readonly string[]): Promise<RunnableJob | undefined> {
  return await pool.transaction(async (tx) => {
    const [, { rows }] = await Promise.all([
      tx.query(sql`set local synchronous_commit = off`),
      tx.query<{ tenant_id: string; job_id: string }>(sql`
        update docket.runnable_jobs r set served_at = clock_timestamp()
        from (
          select tenant_id, job_id from (
            select tenant_id, job_id, priority, served_at, max(served_at) over (partition by tenant_id) as tenant_served_at
            from docket.runnable_jobs
          ) waiting
          where not (job_id = any(${except}::uuid[]))
          order by priority desc, tenant_served_at, served_at, job_id limit 1
        ) next
        where r.tenant_id = next.tenant_id and r.job_id = next.job_id
        returning r.tenant_id, r.job_id`),
      tx.commit(),
    ]);
    return rows[0] && { tenantId: rows[0].tenant_id, jobUuid: rows[0].job_id };
  });
}
