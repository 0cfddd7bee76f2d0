-- The engine's own tables. Every table of tenants has tenant_id first in its key, so that it can be sharded by tenant.

create table docket.jobs (
  tenant_id text not null,
  job_id uuid not null,
  collection text not null,
  operation text not null check (operation in ('update', 'create', 'apply', 'update_one', 'create_one')),
  operation_name text,
  -- what each item does to its record
  item_operation text not null check (item_operation in ('update', 'create')),
  status text not null check (status in ('pending', 'running', 'paused', 'completed', 'cancelled', 'failed')),
  priority smallint not null,
  label text,
  dry_run boolean not null,
  atomic boolean not null,
  representation boolean not null,
  -- answered with results in the request that submitted it
  synchronous boolean not null,
  -- chunks run one after the other: an id stands in several of them, or the job stops after max_errors failures
  ordered boolean not null,
  max_errors integer check (max_errors > 0),
  actor text not null,
  parent_job_id uuid,
  traceparent text,
  total integer not null check (total >= 0),
  succeeded integer not null default 0 check (succeeded >= 0),
  failed integer not null default 0 check (failed >= 0),
  not_processed integer not null default 0 check (not_processed >= 0),
  error json,
  created_at timestamptz not null,
  started_at timestamptz,
  completed_at timestamptz,
  expires_at timestamptz not null,
  primary key (tenant_id, job_id),
  constraint jobs_processed_at_most_total check (succeeded + failed + not_processed <= total),
  constraint jobs_terminal_has_end check ((completed_at is not null) = (status in ('completed', 'cancelled', 'failed'))),
  constraint jobs_completed_is_whole check (status <> 'completed' or succeeded + failed + not_processed = total)
);

-- the list of jobs, newest first; single writes are recorded but not listed
create index jobs_listed on docket.jobs (tenant_id, job_id desc) where operation not in ('update_one', 'create_one');
create index jobs_open on docket.jobs (tenant_id, collection) where status in ('pending', 'running', 'paused');
create unique index jobs_applied_once on docket.jobs (tenant_id, parent_job_id) where operation = 'apply';

create table docket.job_chunks (
  tenant_id text not null,
  job_id uuid not null,
  chunk_no integer not null check (chunk_no >= 0),
  first_index integer not null check (first_index >= 0),
  item_count integer not null check (item_count > 0),
  state text not null check (state in ('pending', 'done')),
  succeeded integer not null default 0,
  failed integer not null default 0,
  not_processed integer not null default 0,
  -- zstd-compressed JSON arrays
  items bytea not null,
  results bytea,
  primary key (tenant_id, job_id, chunk_no),
  constraint job_chunks_done_is_whole check (
    case state
      when 'done' then results is not null and succeeded + failed + not_processed = item_count
      else results is null and succeeded + failed + not_processed = 0
    end
  )
);
-- compressed already: PostgreSQL must not try again
alter table docket.job_chunks alter column items set storage external;
alter table docket.job_chunks alter column results set storage external;
create index job_chunks_pending on docket.job_chunks (tenant_id, job_id, chunk_no) where state = 'pending';

-- one row for each real change of a record
create table docket.changes (
  tenant_id text not null,
  collection text not null,
  record_id text not null,
  -- the record's version after the change; 0 where its table has no version column
  version integer not null,
  job_id uuid not null,
  item_index integer not null,
  actor text not null,
  changed_at timestamptz not null,
  -- the changed fields; before is null when the record was created
  before json,
  after json not null,
  primary key (tenant_id, collection, record_id, version, job_id, item_index)
);

create table docket.idempotency_keys (
  tenant_id text not null,
  key text not null,
  payload_hash text not null,
  job_id uuid not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (tenant_id, key)
);

create table docket.item_keys (
  tenant_id text not null,
  collection text not null,
  key text not null,
  job_id uuid not null,
  -- the item's first result; null only inside the transaction that takes the key
  result json,
  expires_at timestamptz not null,
  primary key (tenant_id, collection, key)
);

-- the dispatch list: jobs that have chunks to run; small, and read across tenants
create table docket.runnable_jobs (
  tenant_id text not null,
  job_id uuid not null,
  priority smallint not null,
  served_at timestamptz not null default '-infinity',
  primary key (tenant_id, job_id)
);
