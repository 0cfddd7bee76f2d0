import { type Database, empty, type Sql, sql } from '@docket/engine';
import type { Envelope } from './events.ts';
import { callbacksId } from './ids.ts';

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
    update docket.webhook_endpoints set ${changes.reduce((all, one) => sql`${all}, ${one}`)}
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

/** Removes an endpoint and its deliveries; what is under way may still arrive. False when there is none. */
export async function deleteEndpoint(db: Database, tenantId: string, endpointId: string): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    with removed as (
      delete from docket.webhook_endpoints where tenant_id = ${tenantId} and endpoint_id = ${endpointId} returning 1
    ), deliveries as (
      delete from docket.webhook_deliveries
      where tenant_id = ${tenantId} and endpoint_id = ${endpointId} and exists (select 1 from removed)
    )
    select 1 from removed`);
  return rowCount === 1;
}
