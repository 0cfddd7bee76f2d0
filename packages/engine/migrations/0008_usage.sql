-- What each tenant has sent, by day (UTC). A day has as many rows as transactions counted at the same time: each takes one that nobody
-- holds, or adds one, so that none waits for another.

create table docket.usage (
  tenant_id text not null,
  day date not null,
  slot bigint generated always as identity,
  batches integer not null check (batches > 0),
  items bigint not null check (items >= 0),
  credits numeric not null check (credits >= 0),
  primary key (tenant_id, day, slot)
);
create index usage_by_day on docket.usage (day);
