-- What has outlived its time is found by when it expires. A job counts from its end: an open one is never removed, however old.

create index jobs_ended on docket.jobs (expires_at) where completed_at is not null;
create index idempotency_keys_expiring on docket.idempotency_keys (expires_at);
create index item_keys_expiring on docket.item_keys (expires_at);
-- why no BRIN: it would be right until the room of removed changes is used again; then every range holds old and new ones
create index changes_by_time on docket.changes (changed_at);
