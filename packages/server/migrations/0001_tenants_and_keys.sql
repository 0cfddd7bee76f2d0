-- Who may call, and for which tenant.

create table docket.tenants (
  tenant_id text primary key check (tenant_id <> ''),
  created_at timestamptz not null default now()
);

create table docket.api_keys (
  tenant_id text not null references docket.tenants (tenant_id),
  key_id uuid not null,
  -- recorded as the actor of each change that was made with the key
  name text not null check (name <> ''),
  -- SHA-256 of the key; the key itself is never stored. Keys are 256 random bits, so a slow hash would add nothing
  key_hash bytea not null check (length(key_hash) = 32),
  -- its last four characters, to tell keys apart
  hint text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (tenant_id, key_id)
);

-- a key is looked up before its tenant is known; it belongs to exactly one
create unique index api_keys_hash on docket.api_keys (key_hash);
