-- Webhooks: who wants to be told of what, and what is to be told to whom. An event is written once for each endpoint that wants it, by
-- the transaction that makes it happen, so none is lost and none told of what was rolled back.

create table docket.webhook_endpoints (
  tenant_id text not null,
  -- all zeros: the callbacks of single jobs, which bring their URL along
  endpoint_id uuid not null,
  url text check (char_length(url) between 1 and 2048),
  events text[] not null,
  envelope text not null check (envelope in ('standard', 'cloudevents')),
  enabled boolean not null,
  -- why it is not enabled, where it was not the owner who said so
  disabled_reason text,
  -- as it is: a signature cannot be made from its hash. Never given back after its first showing
  secret text not null,
  -- signs too, until its time is over
  old_secret text,
  old_secret_until timestamptz,
  -- since when every attempt has failed
  failing_since timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, endpoint_id),
  constraint webhook_endpoints_has_url check ((url is null) = (endpoint_id = '00000000-0000-0000-0000-000000000000')),
  constraint webhook_endpoints_reason_when_disabled check (disabled_reason is null or not enabled),
  constraint webhook_endpoints_old_secret_ends check ((old_secret is null) = (old_secret_until is null))
);

create table docket.webhook_deliveries (
  tenant_id text not null,
  endpoint_id uuid not null,
  -- the same for every endpoint that is told of the event, and for every attempt
  event_id uuid not null,
  -- what shares the places for attempts: an endpoint, or the callbacks to one origin
  lane text not null,
  -- of a callback; else the endpoint's at the time of the attempt
  url text,
  type text not null,
  -- the event itself, as it was when it happened
  data json not null,
  occurred_at timestamptz not null,
  traceparent text,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  -- while an attempt is under way: until when its process may take
  next_attempt_at timestamptz,
  -- attempts since it was last sent by hand
  tries integer not null default 0 check (tries >= 0),
  first_failed_at timestamptz,
  -- the latest attempts, oldest first
  attempts jsonb not null default '[]',
  primary key (tenant_id, endpoint_id, event_id),
  constraint webhook_deliveries_pending_has_next check ((state = 'pending') = (next_attempt_at is not null))
);
create index webhook_deliveries_due on docket.webhook_deliveries (tenant_id, lane, next_attempt_at) where next_attempt_at is not null;
create index webhook_deliveries_by_time on docket.webhook_deliveries (occurred_at);
