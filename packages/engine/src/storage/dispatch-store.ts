import type { Pool } from './database.ts';
import { empty, sql } from './sql.ts';

export interface RunnableJob {
  tenantId: string;
  jobUuid: string;
}

export interface PickedJob extends RunnableJob {
  /** Whether another tenant has a job waiting for its turn. */
  othersWait: boolean;
}

export interface PickOptions {
  /** Jobs in which this worker found nothing to claim just now. */
  except: readonly string[];
  /** Only jobs that no worker has served yet. */
  onlyNew: boolean;
  /** Pass over priorities, so that low ones are not kept waiting for ever. */
  anyPriority: boolean;
}

/**
 * The job to serve next: highest priority, then the tenant served longest ago, then the job served longest ago. Marks both as
 * served; losing that mark in a crash is harmless, so it is not waited for on disk.
 */
export async function pickRunnableJob(pool: Pool, options: PickOptions): Promise<PickedJob | undefined> {
  for (;;) {
    const { picked, waiting } = await pickOnce(pool, options);
    // why: a job that ends while it is being picked is gone, though others wait
    if (picked || !waiting) return picked;
  }
}

async function pickOnce(
  pool: Pool,
  { except, onlyNew, anyPriority }: PickOptions,
): Promise<{ picked: PickedJob | undefined; waiting: boolean }> {
  const byPriority = anyPriority ? empty : sql`priority desc,`;
  const isNew = onlyNew ? sql`not served` : sql`true`;
  const eligible = sql`${isNew} and not (job_id = any(${except}::uuid[]))`;
  return await pool.transaction(async (tx) => {
    const [, picked, waiting] = await Promise.all([
      tx.query(sql`set local synchronous_commit = off`),
      // why the recursion: it steps from tenant to tenant through the index, however many jobs each of them has
      tx.query<{ tenant_id: string; job_id: string; others_wait: boolean }>(sql`
        with recursive waiting_tenants as (
          (select tenant_id from docket.runnable_jobs where ${isNew} order by tenant_id limit 1)
          union all
          select (
            select r.tenant_id from docket.runnable_jobs r where r.tenant_id > w.tenant_id and ${isNew} order by r.tenant_id limit 1)
          from waiting_tenants w where w.tenant_id is not null
        ), first_jobs as (
          select w.tenant_id, first.job_id, first.priority, first.served_at, turn.served_at as tenant_served_at
          from waiting_tenants w
          cross join lateral (
            select job_id, priority, served_at from docket.runnable_jobs r
            where r.tenant_id = w.tenant_id and ${eligible}
            order by ${byPriority} served_at, job_id limit 1
          ) first
          left join docket.tenant_turns turn on turn.tenant_id = w.tenant_id
        ), next as (
          select tenant_id, job_id from first_jobs
          order by ${byPriority} tenant_served_at nulls first, served_at, job_id limit 1
        ), turn as (
          insert into docket.tenant_turns (tenant_id, served_at) select tenant_id, clock_timestamp() from next
          on conflict (tenant_id) do update set served_at = excluded.served_at
        )
        update docket.runnable_jobs r set served_at = clock_timestamp(), served = true
        from next where r.tenant_id = next.tenant_id and r.job_id = next.job_id
        returning r.tenant_id, r.job_id, (select count(*) > 1 from first_jobs) as others_wait`),
      tx.query<{ waiting: boolean }>(sql`
        select exists (select 1 from docket.runnable_jobs where ${eligible}) as waiting`),
      tx.commit(),
    ]);
    const [row] = picked.rows;
    return {
      picked: row && { tenantId: row.tenant_id, jobUuid: row.job_id, othersWait: row.others_wait },
      waiting: waiting.rows[0]?.waiting ?? false,
    };
  });
}
