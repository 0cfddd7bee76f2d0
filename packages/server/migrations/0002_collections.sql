-- The built-in collections. The engine reads and writes these tables as it would any other; it does not own them.

-- Lifecycles of a tenant's own. The built-in ones (general, incident) are in the program; a row of the same name replaces one.
create table docket.case_types (
  tenant_id text not null,
  name text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$'),
  -- new with each change of the row, so that a copy in memory is known to be the present one
  revision uuid not null,
  statuses text[] not null check (cardinality(statuses) between 1 and 100 and array_position(statuses, null) is null),
  initial_status text not null,
  -- {"from": ["to", ..]}; a status without an entry is final
  transitions jsonb not null check (jsonb_typeof(transitions) = 'object'),
  -- JSON Schema of the cases' data; json, not jsonb, so that it is read as it was written
  data_schema json check (json_typeof(data_schema) = 'object' and octet_length(data_schema::text) <= 65536),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, name),
  constraint case_types_initial_is_a_status check (initial_status = any (statuses))
);

create table docket.cases (
  tenant_id text not null,
  case_id text not null check (char_length(case_id) between 1 and 255),
  case_type text not null check (char_length(case_type) between 1 and 100),
  title text not null check (char_length(title) between 1 and 500),
  -- which statuses there are is for the case type to say
  status text not null check (char_length(status) between 1 and 100),
  priority text not null default 'normal' check (priority in ('low', 'normal', 'high', 'urgent')),
  assignee text check (char_length(assignee) between 1 and 255),
  data jsonb not null default '{}' check (jsonb_typeof(data) = 'object'),
  version integer not null default 1 check (version >= 1),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, case_id)
);
-- Every index is written again at each change of its columns, so there are only those without which a common question reads all
-- of a tenant's cases.
-- "what is in progress", and the selections of bulk updates
create index cases_by_status on docket.cases (tenant_id, status, case_id);
-- "what is mine"; most changes leave it alone, and open work without an assignee takes no room in it
create index cases_by_assignee on docket.cases (tenant_id, assignee, case_id) where assignee is not null;
-- "what has changed since I last looked": every integration that copies cases asks so, again and again
-- why without the id: few distinct times would make it look as good as the primary key for finding cases by id
create index cases_by_update on docket.cases (tenant_id, updated_at);

create table docket.orders (
  tenant_id text not null,
  order_id text not null check (char_length(order_id) between 1 and 255),
  status text not null check (status in ('pending', 'paid', 'shipped', 'delivered', 'cancelled', 'refunded')),
  customer text not null check (char_length(customer) between 1 and 255),
  amount numeric(14, 2) not null check (amount >= 0),
  -- ISO 4217
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  note text check (char_length(note) <= 2000),
  version integer not null default 1 check (version >= 1),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, order_id)
);
create index orders_by_status on docket.orders (tenant_id, status, order_id);
create index orders_by_customer on docket.orders (tenant_id, customer, order_id);
create index orders_by_update on docket.orders (tenant_id, updated_at);
