-- Generated from the migrations by `npm run generate`. Not run by anything.

create table docket.changes (
  tenant_id text not null,
  collection text not null,
  record_id text not null,
  version integer not null,
  job_id uuid not null,
  item_index integer not null,
  actor text not null,
  changed_at timestamp with time zone not null,
  before json,
  after json not null,
  constraint changes_pkey PRIMARY KEY (tenant_id, collection, record_id, version, job_id, item_index)
);
CREATE INDEX changes_by_time ON docket.changes USING btree (changed_at);

create table docket.idempotency_keys (
  tenant_id text not null,
  key text not null,
  payload_hash text not null,
  job_id uuid not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_expiring ON docket.idempotency_keys USING btree (expires_at);
CREATE INDEX idempotency_keys_job ON docket.idempotency_keys USING btree (tenant_id, job_id);

create table docket.item_keys (
  tenant_id text not null,
  collection text not null,
  key text not null,
  job_id uuid not null,
  result json,
  expires_at timestamp with time zone not null,
  constraint item_keys_pkey PRIMARY KEY (tenant_id, collection, key)
);
CREATE INDEX item_keys_expiring ON docket.item_keys USING btree (expires_at);

create table docket.job_chunks (
  tenant_id text not null,
  job_id uuid not null,
  chunk_no integer not null,
  first_index integer not null,
  item_count integer not null,
  state text not null,
  succeeded integer not null default 0,
  failed integer not null default 0,
  not_processed integer not null default 0,
  items bytea storage external not null,
  results bytea storage external,
  codes text[],
  id_hashes bytea storage external,
  constraint job_chunks_pkey PRIMARY KEY (tenant_id, job_id, chunk_no),
  constraint job_chunks_chunk_no_check CHECK ((chunk_no >= 0)),
  constraint job_chunks_counts_fit_state CHECK (
CASE state
    WHEN 'done'::text THEN ((results IS NOT NULL) AND (((succeeded + failed) + not_processed) = item_count))
    WHEN 'cancelled'::text THEN ((results IS NULL) AND ((succeeded + failed) = 0) AND (not_processed = item_count))
    ELSE ((results IS NULL) AND (((succeeded + failed) + not_processed) = 0))
END),
  constraint job_chunks_first_index_check CHECK ((first_index >= 0)),
  constraint job_chunks_item_count_check CHECK ((item_count > 0)),
  constraint job_chunks_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'done'::text, 'cancelled'::text])))
);
CREATE INDEX job_chunks_pending ON docket.job_chunks USING btree (tenant_id, job_id, chunk_no) WHERE (state = 'pending'::text);

create table docket.jobs (
  tenant_id text not null,
  job_id uuid not null,
  collection text not null,
  operation text not null,
  operation_name text,
  item_operation text not null,
  status text not null,
  priority smallint not null,
  label text,
  dry_run boolean not null,
  atomic boolean not null,
  representation boolean not null,
  synchronous boolean not null,
  ordered boolean not null,
  max_errors integer,
  actor text not null,
  parent_job_id uuid,
  traceparent text,
  total integer not null,
  succeeded integer not null default 0,
  failed integer not null default 0,
  not_processed integer not null default 0,
  error json,
  created_at timestamp with time zone not null,
  started_at timestamp with time zone,
  completed_at timestamp with time zone,
  expires_at timestamp with time zone not null,
  cancel_requested boolean not null default false,
  retry_only text,
  received integer not null default 0,
  callback_url text,
  constraint jobs_pkey PRIMARY KEY (tenant_id, job_id),
  constraint jobs_cancelled_on_request CHECK (((status <> 'cancelled'::text) OR cancel_requested)),
  constraint jobs_cancelling_runs CHECK (((NOT cancel_requested) OR (status = ANY (ARRAY['running'::text, 'cancelled'::text])))),
  constraint jobs_ended_is_whole CHECK (((status <> ALL (ARRAY['completed'::text, 'cancelled'::text])) OR (((succeeded + failed) + not_processed) = total))),
  constraint jobs_failed_check CHECK ((failed >= 0)),
  constraint jobs_item_operation_check CHECK ((item_operation = ANY (ARRAY['update'::text, 'create'::text]))),
  constraint jobs_max_errors_check CHECK ((max_errors > 0)),
  constraint jobs_not_processed_check CHECK ((not_processed >= 0)),
  constraint jobs_operation_check CHECK ((operation = ANY (ARRAY['update'::text, 'create'::text, 'apply'::text, 'retry'::text, 'revert'::text, 'update_one'::text, 'create_one'::text]))),
  constraint jobs_processed_at_most_total CHECK ((((succeeded + failed) + not_processed) <= total)),
  constraint jobs_received_check CHECK ((received >= 0)),
  constraint jobs_retry_has_choice CHECK (((operation = 'retry'::text) = (retry_only IS NOT NULL))),
  constraint jobs_retry_only_check CHECK ((retry_only = ANY (ARRAY['failed'::text, 'retryable'::text]))),
  constraint jobs_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'paused'::text, 'completed'::text, 'cancelled'::text, 'failed'::text]))),
  constraint jobs_succeeded_check CHECK ((succeeded >= 0)),
  constraint jobs_terminal_has_end CHECK (((completed_at IS NOT NULL) = (status = ANY (ARRAY['completed'::text, 'cancelled'::text, 'failed'::text])))),
  constraint jobs_total_check CHECK ((total >= 0))
);
CREATE UNIQUE INDEX jobs_applied_once ON docket.jobs USING btree (tenant_id, parent_job_id) WHERE (operation = 'apply'::text);
CREATE INDEX jobs_ended ON docket.jobs USING btree (expires_at) WHERE (completed_at IS NOT NULL);
CREATE INDEX jobs_listed ON docket.jobs USING btree (tenant_id, job_id DESC) WHERE (operation <> ALL (ARRAY['update_one'::text, 'create_one'::text]));
CREATE INDEX jobs_open ON docket.jobs USING btree (tenant_id, collection) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text, 'paused'::text]));
CREATE UNIQUE INDEX jobs_retried_once ON docket.jobs USING btree (tenant_id, parent_job_id, retry_only) WHERE (operation = 'retry'::text);
CREATE UNIQUE INDEX jobs_reverted_once ON docket.jobs USING btree (tenant_id, parent_job_id) WHERE (operation = 'revert'::text);

create table docket.migrations (
  set_name text not null,
  number integer not null,
  file text not null,
  checksum text not null,
  breaking boolean not null,
  applied_at timestamp with time zone not null default now(),
  constraint migrations_pkey PRIMARY KEY (set_name, number)
);

create table docket.runnable_jobs (
  tenant_id text not null,
  job_id uuid not null,
  priority smallint not null,
  served_at timestamp with time zone not null default (now() - '00:00:01'::interval),
  served boolean not null default false,
  constraint runnable_jobs_pkey PRIMARY KEY (tenant_id, job_id)
);
CREATE INDEX runnable_jobs_new ON docket.runnable_jobs USING btree (tenant_id, priority DESC, served_at, job_id) WHERE (NOT served);
CREATE INDEX runnable_jobs_next ON docket.runnable_jobs USING btree (tenant_id, priority DESC, served_at, job_id);

create table docket.tenant_turns (
  tenant_id text not null,
  served_at timestamp with time zone not null,
  constraint tenant_turns_pkey PRIMARY KEY (tenant_id)
);

create table docket.usage (
  tenant_id text not null,
  day date not null,
  slot bigint not null,
  batches integer not null,
  items bigint not null,
  credits numeric not null,
  constraint usage_pkey PRIMARY KEY (tenant_id, day, slot),
  constraint usage_batches_check CHECK ((batches > 0)),
  constraint usage_credits_check CHECK ((credits >= (0)::numeric)),
  constraint usage_items_check CHECK ((items >= 0))
);
CREATE INDEX usage_by_day ON docket.usage USING btree (day);
