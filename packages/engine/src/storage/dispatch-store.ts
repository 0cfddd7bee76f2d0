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
  for (;;) {
    const { picked, waiting } = await pickOnce(pool, except);
    // why: a job that ends while it is being picked is gone, though others wait
    if (picked || !waiting) return picked;
  }
}

async function pickOnce(
  pool: Pool,
  except: readonly string[],
): Promise<{ picked: RunnableJob | undefined; waiting: boolean }> {
  return await pool.transaction(async (tx) => {
    const [, picked, waiting] = await Promise.all([
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
      tx.query<{ waiting: boolean }>(sql`
        select exists (select 1 from docket.runnable_jobs where not (job_id = any(${except}::uuid[]))) as waiting`),
      tx.commit(),
    ]);
    const [row] = picked.rows;
    return {
      picked: row && { tenantId: row.tenant_id, jobUuid: row.job_id },
      waiting: waiting.rows[0]?.waiting ?? false,
    };
  });
}
