-- Fair dispatch. A tenant's turn outlives its jobs, so that many small jobs, one after the other, do not each go ahead of the rest.

create table docket.tenant_turns (
  tenant_id text primary key,
  served_at timestamptz not null
);

alter table docket.runnable_jobs
  -- a job goes ahead of those of its tenant that were served within the last second, and of no others: none waits for ever
  alter column served_at set default now() - interval '1 second',
  add column served boolean not null default false;

create index runnable_jobs_next on docket.runnable_jobs (tenant_id, priority desc, served_at, job_id);
create index runnable_jobs_new on docket.runnable_jobs (tenant_id, priority desc, served_at, job_id) where not served;
