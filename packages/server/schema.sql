-- Generated from the migrations by `npm run generate`. Not run by anything.

create table docket.api_keys (
  tenant_id text not null,
  key_id uuid not null,
  name text not null,
  key_hash bytea not null,
  hint text not null,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  constraint api_keys_pkey PRIMARY KEY (tenant_id, key_id),
  constraint api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(tenant_id),
  constraint api_keys_key_hash_check CHECK ((length(key_hash) = 32)),
  constraint api_keys_name_check CHECK ((name <> ''::text))
);
CREATE UNIQUE INDEX api_keys_hash ON docket.api_keys USING btree (key_hash);

create table docket.case_types (
  tenant_id text not null,
  name text not null,
  revision uuid not null,
  statuses text[] not null,
  initial_status text not null,
  transitions jsonb not null,
  data_schema json,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint case_types_pkey PRIMARY KEY (tenant_id, name),
  constraint case_types_data_schema_check CHECK (((json_typeof(data_schema) = 'object'::text) AND (octet_length((data_schema)::text) <= 65536))),
  constraint case_types_initial_is_a_status CHECK ((initial_status = ANY (statuses))),
  constraint case_types_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$'::text)),
  constraint case_types_statuses_check CHECK ((((cardinality(statuses) >= 1) AND (cardinality(statuses) <= 100)) AND (array_position(statuses, NULL::text) IS NULL))),
  constraint case_types_transitions_check CHECK ((jsonb_typeof(transitions) = 'object'::text))
);

create table docket.cases (
  tenant_id text not null,
  case_id text not null,
  case_type text not null,
  title text not null,
  status text not null,
  priority text not null default 'normal'::text,
  assignee text,
  data jsonb not null default '{}'::jsonb,
  version integer not null default 1,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint cases_pkey PRIMARY KEY (tenant_id, case_id),
  constraint cases_assignee_check CHECK (((char_length(assignee) >= 1) AND (char_length(assignee) <= 255))),
  constraint cases_case_id_check CHECK (((char_length(case_id) >= 1) AND (char_length(case_id) <= 255))),
  constraint cases_case_type_check CHECK (((char_length(case_type) >= 1) AND (char_length(case_type) <= 100))),
  constraint cases_data_check CHECK ((jsonb_typeof(data) = 'object'::text)),
  constraint cases_priority_check CHECK ((priority = ANY (ARRAY['low'::text, 'normal'::text, 'high'::text, 'urgent'::text]))),
  constraint cases_status_check CHECK (((char_length(status) >= 1) AND (char_length(status) <= 100))),
  constraint cases_title_check CHECK (((char_length(title) >= 1) AND (char_length(title) <= 500))),
  constraint cases_version_check CHECK ((version >= 1))
);
CREATE INDEX cases_by_assignee ON docket.cases USING btree (tenant_id, assignee, case_id) WHERE (assignee IS NOT NULL);
CREATE INDEX cases_by_status ON docket.cases USING btree (tenant_id, status, case_id);
CREATE INDEX cases_by_update ON docket.cases USING btree (tenant_id, updated_at);

create table docket.orders (
  tenant_id text not null,
  order_id text not null,
  status text not null,
  customer text not null,
  amount numeric(14,2) not null,
  currency text not null,
  note text,
  version integer not null default 1,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint orders_pkey PRIMARY KEY (tenant_id, order_id),
  constraint orders_amount_check CHECK ((amount >= (0)::numeric)),
  constraint orders_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
  constraint orders_customer_check CHECK (((char_length(customer) >= 1) AND (char_length(customer) <= 255))),
  constraint orders_note_check CHECK ((char_length(note) <= 2000)),
  constraint orders_order_id_check CHECK (((char_length(order_id) >= 1) AND (char_length(order_id) <= 255))),
  constraint orders_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'paid'::text, 'shipped'::text, 'delivered'::text, 'cancelled'::text, 'refunded'::text]))),
  constraint orders_version_check CHECK ((version >= 1))
);
CREATE INDEX orders_by_customer ON docket.orders USING btree (tenant_id, customer, order_id);
CREATE INDEX orders_by_status ON docket.orders USING btree (tenant_id, status, order_id);
CREATE INDEX orders_by_update ON docket.orders USING btree (tenant_id, updated_at);

create table docket.tenants (
  tenant_id text not null,
  created_at timestamp with time zone not null default now(),
  constraint tenants_pkey PRIMARY KEY (tenant_id),
  constraint tenants_tenant_id_check CHECK ((tenant_id <> ''::text))
);

create table docket.webhook_deliveries (
  tenant_id text not null,
  endpoint_id uuid not null,
  event_id uuid not null,
  lane text not null,
  url text,
  type text not null,
  data json not null,
  occurred_at timestamp with time zone not null,
  traceparent text,
  state text not null default 'pending'::text,
  next_attempt_at timestamp with time zone,
  tries integer not null default 0,
  first_failed_at timestamp with time zone,
  attempts jsonb not null default '[]'::jsonb,
  constraint webhook_deliveries_pkey PRIMARY KEY (tenant_id, endpoint_id, event_id),
  constraint webhook_deliveries_pending_has_next CHECK (((state = 'pending'::text) = (next_attempt_at IS NOT NULL))),
  constraint webhook_deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text]))),
  constraint webhook_deliveries_tries_check CHECK ((tries >= 0))
);
CREATE INDEX webhook_deliveries_by_time ON docket.webhook_deliveries USING btree (occurred_at);
CREATE INDEX webhook_deliveries_due ON docket.webhook_deliveries USING btree (tenant_id, lane, next_attempt_at) WHERE (next_attempt_at IS NOT NULL);

create table docket.webhook_endpoints (
  tenant_id text not null,
  endpoint_id uuid not null,
  url text,
  events text[] not null,
  envelope text not null,
  enabled boolean not null,
  disabled_reason text,
  secret text not null,
  old_secret text,
  old_secret_until timestamp with time zone,
  failing_since timestamp with time zone,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint webhook_endpoints_pkey PRIMARY KEY (tenant_id, endpoint_id),
  constraint webhook_endpoints_envelope_check CHECK ((envelope = ANY (ARRAY['standard'::text, 'cloudevents'::text]))),
  constraint webhook_endpoints_has_url CHECK (((url IS NULL) = (endpoint_id = '00000000-0000-0000-0000-000000000000'::uuid))),
  constraint webhook_endpoints_old_secret_ends CHECK (((old_secret IS NULL) = (old_secret_until IS NULL))),
  constraint webhook_endpoints_reason_when_disabled CHECK (((disabled_reason IS NULL) OR (NOT enabled))),
  constraint webhook_endpoints_url_check CHECK (((char_length(url) >= 1) AND (char_length(url) <= 2048)))
);
