import { type Database, empty, join, type QueryResult, type Sql, sql } from '@docket/engine';
import type { Envelope } from './events.ts';
import { callbacksId } from './ids.ts';
import type { SealedSecrets } from './sealed-secrets.ts';

/** Who is told of what. Without a `url`: the callbacks of single jobs. Its secrets are never among what is read here. */
export interface Endpoint {
  endpointId: string;
  url: string | null;
  events: string[];
  envelope: Envelope;
  enabled: boolean;
  disabledReason: string | null;
  failingSince: string | null;
  createdAt: string;
  updatedAt: string;
}

interface Row {
  endpoint_id: string;
  url: string | null;
  events: string[];
  envelope: Envelope;
  enabled: boolean;
  disabled_reason: string | null;
  failing_since: string | null;
  created_at: string;
  updated_at: string;
}

const columns = sql`endpoint_id, url, events, envelope, enabled, disabled_reason, failing_since, created_at, updated_at`;

function toEndpoint(row: Row): Endpoint {
  return {
    endpointId: row.endpoint_id,
    url: row.url,
    events: row.events,
    envelope: row.envelope,
    enabled: row.enabled,
    disabledReason: row.disabled_reason,
    failingSince: row.failing_since,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** Adds an endpoint unless the tenant has `most` of them; undefined then. */
export async function insertEndpoint(
  db: Database,
  endpoint: Pick<Endpoint, 'endpointId' | 'url' | 'events' | 'envelope' | 'enabled'> & {
    tenantId: string;
    secret: string;
    most: number;
  },
): Promise<Endpoint | undefined> {
  const { tenantId } = endpoint;
  const { rows } = await db.query<Row>(sql`
    insert into docket.webhook_endpoints (tenant_id, endpoint_id, url, events, envelope, enabled, secret)
    select ${tenantId}, ${endpoint.endpointId}::uuid, ${endpoint.url}, ${endpoint.events}::text[], ${endpoint.envelope},
      ${endpoint.enabled}, ${endpoint.secret}
    where (select count(*) from docket.webhook_endpoints where tenant_id = ${tenantId} and endpoint_id <> ${callbacksId}::uuid) < ${endpoint.most}
    returning ${columns}`);
  return rows[0] && toEndpoint(rows[0]);
}

/** Makes sure that the tenant's callbacks have a secret to be signed with. */
export async function ensureCallbacks(db: Database, tenantId: string, secret: string): Promise<void> {
  await db.query(sql`
    insert into docket.webhook_endpoints (tenant_id, endpoint_id, events, envelope, enabled, secret)
    values (${tenantId}, ${callbacksId}, '{}', 'standard', true, ${secret})
    on conflict do nothing`);
}

export async function findEndpoint(db: Database, tenantId: string, endpointId: string): Promise<Endpoint | undefined> {
  const { rows } = await db.query<Row>(sql`
    select ${columns} from docket.webhook_endpoints where tenant_id = ${tenantId} and endpoint_id = ${endpointId}`);
  return rows[0] && toEndpoint(rows[0]);
}

/** Newest first, behind the given one. The callbacks are not among them. */
export async function listEndpoints(
  db: Database,
  tenantId: string,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<Endpoint[]> {
  const { rows } = await db.query<Row>(sql`
    select ${columns} from docket.webhook_endpoints
    where tenant_id = ${tenantId} and endpoint_id <> ${callbacksId} ${after === undefined ? empty : sql`and endpoint_id < ${after}`}
    order by endpoint_id desc limit ${limit}`);
  return rows.map(toEndpoint);
}

/** Changes what is given. Turned on again, an endpoint starts without the failures of before, and what waited goes out. */
export async function updateEndpoint(
  db: Database,
  { tenantId, endpointId }: { tenantId: string; endpointId: string },
  { url, events, envelope, enabled }: Partial<Pick<Endpoint, 'events' | 'envelope' | 'enabled'> & { url: string }>,
): Promise<Endpoint | undefined> {
  const changes: Sql[] = [sql`updated_at = now()`];
  if (url !== undefined) changes.push(sql`url = ${url}`);
  if (events !== undefined) changes.push(sql`events = ${events}::text[]`);
  if (envelope !== undefined) changes.push(sql`envelope = ${envelope}`);
  if (enabled !== undefined) {
    changes.push(sql`enabled = ${enabled}, disabled_reason = null,
      failing_since = case when ${enabled}::boolean then null else failing_since end`);
  }
  const { rows } = await db.query<Row>(sql`
    update docket.webhook_endpoints set ${join(changes)}
    where tenant_id = ${tenantId} and endpoint_id = ${endpointId}
    returning ${columns}`);
  return rows[0] && toEndpoint(rows[0]);
}

/** Gives an endpoint a new secret; the old one signs too for a day. An earlier old one is over at once. */
export async function rotateSecret(
  db: Database,
  { tenantId, endpointId }: { tenantId: string; endpointId: string },
  secret: string,
): Promise<{ oldSecretUntil: string } | undefined> {
  const { rows } = await db.query<{ old_secret_until: string }>(sql`
    update docket.webhook_endpoints
    set secret = ${secret}, old_secret = secret, old_secret_until = now() + interval '24 hours', updated_at = now()
    where tenant_id = ${tenantId} and endpoint_id = ${endpointId}
    returning old_secret_until`);
  return rows[0] && { oldSecretUntil: rows[0].old_secret_until };
}

/** Endpoints whose secrets are sealed together. */
const sealRows = 1_000;

/**
 * Seals what is stored plain, or by another key than the first. What no key opens stays as it is.
 * why across tenants: the key is that of all
 */
export async function sealSecrets(db: Database, secrets: SealedSecrets): Promise<void> {
  interface Stored {
    tenant_id: string;
    endpoint_id: string;
    secret: string;
    old_secret: string | null;
  }
  if (!secrets.seals) return;
  let last: Stored | undefined;
  do {
    const { rows }: QueryResult<Stored> = await db.query(sql`
      select tenant_id, endpoint_id, secret, old_secret from docket.webhook_endpoints
      ${last === undefined ? empty : sql`where (tenant_id, endpoint_id) > (${last.tenant_id}, ${last.endpoint_id}::uuid)`}
      order by tenant_id, endpoint_id limit ${sealRows}`);
    const sealed = rows.flatMap((row) => {
      const owner = { tenantId: row.tenant_id, endpointId: row.endpoint_id };
      const secret = secrets.renew(row.secret, owner);
      const old = row.old_secret === null ? null : secrets.renew(row.old_secret, owner);
      return secret === row.secret && old === row.old_secret ? [] : [{ ...row, to: secret, oldTo: old }];
    });
    if (sealed.length > 0) {
      await db.query(sql`
        update docket.webhook_endpoints e set secret = s.to_secret, old_secret = s.to_old
        from unnest(${sealed.map((one) => one.tenant_id)}::text[], ${sealed.map((one) => one.endpoint_id)}::uuid[],
          ${sealed.map((one) => one.secret)}::text[], ${sealed.map((one) => one.old_secret)}::text[],
          ${sealed.map((one) => one.to)}::text[], ${sealed.map((one) => one.oldTo)}::text[])
          as s(tenant_id, endpoint_id, secret, old_secret, to_secret, to_old)
        where e.tenant_id = s.tenant_id and e.endpoint_id = s.endpoint_id
          and e.secret = s.secret and e.old_secret is not distinct from s.old_secret`);
    }
    last = rows.length === sealRows ? rows.at(-1) : undefined;
  } while (last);
}

/** Removes an endpoint; `removeOrphanedDeliveries` follows it. What is under way may still arrive. False when there is none. */
export async function deleteEndpoint(db: Database, tenantId: string, endpointId: string): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    delete from docket.webhook_endpoints where tenant_id = ${tenantId} and endpoint_id = ${endpointId}`);
  return rowCount === 1;
}
