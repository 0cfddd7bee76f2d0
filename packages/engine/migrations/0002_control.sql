-- Control of jobs: cancel, pause, retry, revert. Workers of the version before go on applying jobs; the chunks of a job that is
-- paused or being cancelled they leave, by a failed check or update, to those of this version.

alter table docket.jobs
  -- the job ends as cancelled when the chunks in flight have ended
  add column cancel_requested boolean not null default false,
  -- which items of its parent a retry was to hold
  add column retry_only text,
  drop constraint jobs_operation_check,
  drop constraint jobs_completed_is_whole,
  add constraint jobs_operation_check
    check (operation in ('update', 'create', 'apply', 'retry', 'revert', 'update_one', 'create_one')),
  add constraint jobs_retry_has_choice check ((operation = 'retry') = (retry_only is not null)),
  add constraint jobs_retry_only_check check (retry_only in ('failed', 'retryable')),
  add constraint jobs_ended_is_whole
    check (status not in ('completed', 'cancelled') or succeeded + failed + not_processed = total),
  add constraint jobs_cancelled_on_request check (status <> 'cancelled' or cancel_requested),
  add constraint jobs_cancelling_runs check (not cancel_requested or status in ('running', 'cancelled'));

create unique index jobs_retried_once on docket.jobs (tenant_id, parent_job_id, retry_only) where operation = 'retry';
create unique index jobs_reverted_once on docket.jobs (tenant_id, parent_job_id) where operation = 'revert';

-- results of a cancelled chunk follow from its items: none are stored
alter table docket.job_chunks
  drop constraint job_chunks_state_check,
  drop constraint job_chunks_done_is_whole,
  add constraint job_chunks_state_check check (state in ('pending', 'done', 'cancelled')),
  add constraint job_chunks_counts_fit_state check (
    case state
      when 'done' then results is not null and succeeded + failed + not_processed = item_count
      when 'cancelled' then results is null and succeeded + failed = 0 and not_processed = item_count
      else results is null and succeeded + failed + not_processed = 0
    end
  );

-- a deleted job takes its keys along
create index idempotency_keys_job on docket.idempotency_keys (tenant_id, job_id);
