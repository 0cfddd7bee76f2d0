import { type Database, empty, type JsonObject, type QueryResult, sql } from '@docket/engine';
import type { Attempt } from './attempt.ts';
import type { Envelope, StoredEvent } from './events.ts';
import { callbacksId } from './ids.ts';
import { webhookChannel } from './outbox.ts';
import type { NextStep } from './retries.ts';

export const deliveryStates = ['pending', 'delivered', 'failed'] as const;
export type DeliveryState = (typeof deliveryStates)[number];

/** An attempt that was made, as the log keeps it. */
export interface LoggedAttempt {
  at: string;
  durationMs: number;
  url: string;
  status: number | null;
  error: string | null;
  answer: string | null;
}

/** A delivery as its owner sees it. */
export interface Delivery extends StoredEvent {
  data: JsonObject;
  state: DeliveryState;
  nextAttemptAt: string | null;
  url: string | null;
  attempts: LoggedAttempt[];
}

/** How long a process may hold a delivery before another one takes it: longer than any attempt and the writing of its outcome. */
const leaseSeconds = 60;
const keptAttempts = 20;

export interface DeliveryKey {
  tenantId: string;
  endpointId: string;
  eventId: string;
}

/** A delivery that this process may attempt now, and all that it needs for it. */
export interface ClaimedDelivery extends DeliveryKey, StoredEvent {
  lane: string;
  url: string;
  envelope: Envelope;
  secrets: string[];
  traceparent: string | null;
  /** Attempts before this one. */
  tries: number;
  /** Proves that it is still this process's. */
  lease: string;
  /** Whether to expect that it takes long: its endpoint has failed last, or is slow just now. */
  doubtful: boolean;
}

interface ClaimRow {
  tenant_id: string;
  endpoint_id: string;
  event_id: string;
  lane: string;
  url: string;
  type: string;
  data: JsonObject;
  occurred_at: string;
  traceparent: string | null;
  tries: number;
  next_attempt_at: string;
  doubtful: boolean;
  envelope: Envelope;
  secret: string;
  old_secret: string | null;
}

/** What this process knows of a lane. Of one that it knows nothing of, it takes one. */
export interface LaneState {
  tenantId: string;
  lane: string;
  /** Attempts under way. */
  busy: number;
  /** How many may be. */
  width: number;
  /** One of those under way takes long. */
  slow: boolean;
}

/** How many deliveries may be taken: of lanes that are slow or whose endpoint failed last, and of others. */
export interface Room {
  good: number;
  doubtful: number;
}

/**
 * Takes deliveries that are due: of each lane first one, then a second, up to its width, and those that wait longest first. Steps from
 * lane to lane through an index, whatever waits in each. Those of endpoints that are not enabled wait.
 * why across tenants: who is due is not known by tenant
 * why lateral with limits: the planner joins lanes with all endpoints of their tenants otherwise, and looks into the index for each pair
 */
export async function claimDeliveries(
  db: Database,
  { known, room }: { known: readonly LaneState[]; room: Room },
): Promise<ClaimedDelivery[]> {
  const { rows } = await db.query<ClaimRow>(sql`
    with recursive lanes as (
      (select tenant_id, lane from docket.webhook_deliveries where next_attempt_at is not null order by tenant_id, lane limit 1)
      union all
      select next.tenant_id, next.lane from lanes
      cross join lateral (
        select d.tenant_id, d.lane from docket.webhook_deliveries d
        where d.next_attempt_at is not null and (d.tenant_id, d.lane) > (lanes.tenant_id, lanes.lane)
        order by d.tenant_id, d.lane limit 1
      ) next
    ), states as materialized (
      select lanes.tenant_id, lanes.lane, coalesce(known.busy, 0) as busy, coalesce(known.width, 1) as width, coalesce(known.slow, false) as slow
      from lanes
      left join unnest(${known.map((one) => one.tenantId)}::text[], ${known.map((one) => one.lane)}::text[],
        ${known.map((one) => one.busy)}::int[], ${known.map((one) => one.width)}::int[], ${known.map((one) => one.slow)}::boolean[])
        as known(tenant_id, lane, busy, width, slow) on known.tenant_id = lanes.tenant_id and known.lane = lanes.lane
    ), open as (
      select s.tenant_id, s.lane, s.busy, s.width - s.busy as free, s.slow or e.failing_since is not null as doubtful
      from states s
      cross join lateral (
        select d.endpoint_id from docket.webhook_deliveries d
        where d.tenant_id = s.tenant_id and d.lane = s.lane and d.next_attempt_at <= now() limit 1
      ) head
      cross join lateral (
        select failing_since from docket.webhook_endpoints e
        where e.tenant_id = s.tenant_id and e.endpoint_id = head.endpoint_id and e.enabled limit 1
      ) e
      where s.busy < s.width
    ), waiting as (
      select open.tenant_id, open.lane, open.doubtful, d.next_attempt_at,
        open.busy + row_number() over (partition by open.tenant_id, open.lane order by d.next_attempt_at) as place
      from open
      cross join lateral (
        select d.next_attempt_at from docket.webhook_deliveries d
        where d.tenant_id = open.tenant_id and d.lane = open.lane and d.next_attempt_at <= now()
        order by d.next_attempt_at limit open.free
      ) d
    ), ranked as (
      select tenant_id, lane, doubtful, row_number() over (partition by doubtful order by place, next_attempt_at) as nth from waiting
    ), chosen as (
      select tenant_id, lane, doubtful, count(*) as take from ranked
      where nth <= case when doubtful then ${room.doubtful}::int else ${room.good}::int end
      group by tenant_id, lane, doubtful
    ), due as (
      select first.tenant_id, first.endpoint_id, first.event_id, chosen.doubtful from chosen
      cross join lateral (
        select d.tenant_id, d.endpoint_id, d.event_id from docket.webhook_deliveries d
        where d.tenant_id = chosen.tenant_id and d.lane = chosen.lane and d.next_attempt_at <= now()
        order by d.next_attempt_at limit chosen.take for update skip locked
      ) first
    )
    update docket.webhook_deliveries d set next_attempt_at = clock_timestamp() + make_interval(secs => ${leaseSeconds})
    from due join docket.webhook_endpoints e on e.tenant_id = due.tenant_id and e.endpoint_id = due.endpoint_id
    where d.tenant_id = due.tenant_id and d.endpoint_id = due.endpoint_id and d.event_id = due.event_id
    returning d.tenant_id, d.endpoint_id, d.event_id, d.lane, coalesce(d.url, e.url) as url, d.type, d.data, d.occurred_at,
      d.traceparent, d.tries, d.next_attempt_at, due.doubtful, e.envelope, e.secret,
      case when e.old_secret_until > now() then e.old_secret end as old_secret`);
  return rows.map((row) => ({
    tenantId: row.tenant_id,
    endpointId: row.endpoint_id,
    eventId: row.event_id,
    lane: row.lane,
    url: row.url,
    type: row.type,
    data: row.data,
    occurredAt: row.occurred_at,
    traceparent: row.traceparent,
    tries: row.tries,
    lease: row.next_attempt_at,
    doubtful: row.doubtful,
    envelope: row.envelope,
    secrets: row.old_secret === null ? [row.secret] : [row.secret, row.old_secret],
  }));
}

/** Gives a claim back without an attempt. */
export async function releaseDelivery(db: Database, delivery: ClaimedDelivery): Promise<void> {
  await db.query(sql`
    update docket.webhook_deliveries set next_attempt_at = now()
    where ${isClaimed(delivery)}`);
}

function isClaimed({ tenantId, endpointId, eventId, lease }: ClaimedDelivery) {
  return sql`tenant_id = ${tenantId} and endpoint_id = ${endpointId} and event_id = ${eventId} and next_attempt_at = ${lease}::timestamptz`;
}

/**
 * Writes down what an attempt came to. Does nothing when the delivery was sent by hand or taken by another process meanwhile. The
 * callbacks of jobs, which go to many receivers, are never disabled as a whole.
 */
export async function recordAttempt(
  db: Database,
  delivery: ClaimedDelivery,
  { attempt, at, step }: { attempt: Attempt; at: Date; step: NextStep },
): Promise<void> {
  const { tenantId, endpointId } = delivery;
  const { status, error, answer, durationMs } = attempt;
  const entry: LoggedAttempt = { at: at.toISOString(), durationMs, url: delivery.url, status, error, answer };
  const state = { delivered: 'delivered', retry: 'pending', give_up: 'failed' }[step.kind];
  const failed = step.kind !== 'delivered';
  const gaveUp = step.kind === 'give_up';
  await db.query(sql`
    with recorded as (
      update docket.webhook_deliveries set
        state = ${state}, tries = tries + 1,
        next_attempt_at = case when ${step.kind === 'retry'}::boolean
          then clock_timestamp() + make_interval(secs => ${step.kind === 'retry' ? step.afterSeconds : 0}::float8) end,
        first_failed_at = case when ${failed}::boolean then coalesce(first_failed_at, now()) end,
        attempts = case when jsonb_array_length(attempts) >= ${keptAttempts} then attempts - 0 else attempts end
          || ${JSON.stringify([entry])}::jsonb
      where ${isClaimed(delivery)}
      returning first_failed_at
    )
    update docket.webhook_endpoints e set
      failing_since = case when ${failed}::boolean then coalesce(failing_since, now()) end,
      enabled = enabled and not ${disables(step)},
      disabled_reason = case when enabled and ${disables(step)} then ${gaveUp ? step.disable : null}::text else disabled_reason end
    from recorded
    where e.tenant_id = ${tenantId} and e.endpoint_id = ${endpointId} and e.url is not null
      and ((failing_since is not null) <> ${failed}::boolean or ${gaveUp}::boolean)`);
}

/** Not where something was received since the delivery failed first. */
function disables(step: NextStep) {
  if (step.kind !== 'give_up') return sql`false`;
  return step.unlessReceived ? sql`coalesce(failing_since, now()) <= recorded.first_failed_at` : sql`true`;
}

/** A delivery made by hand, due at once. */
export async function insertDelivery(
  db: Database,
  { tenantId, endpointId, eventId, type, data }: DeliveryKey & { type: string; data: JsonObject },
): Promise<void> {
  await db.query(sql`
    insert into docket.webhook_deliveries (tenant_id, endpoint_id, event_id, lane, type, data, occurred_at, next_attempt_at)
    values (${tenantId}, ${endpointId}, ${eventId}, ${endpointId}::text, ${type}, ${JSON.stringify(data)}::json, clock_timestamp(), now())`);
  await wakeDeliverers(db);
}

async function wakeDeliverers(db: Database): Promise<void> {
  await db.query(sql`select pg_notify(${webhookChannel}, '')`);
}

const sendAgain = sql`state = 'pending', tries = 0, first_failed_at = null, next_attempt_at = now()`;

/** Sends one again, whatever became of it, with all its attempts before it. False when there is none. */
export async function resendDelivery(db: Database, { tenantId, endpointId, eventId }: DeliveryKey): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    update docket.webhook_deliveries set ${sendAgain}
    where tenant_id = ${tenantId} and endpoint_id = ${endpointId} and event_id = ${eventId}`);
  await wakeDeliverers(db);
  return rowCount === 1;
}

/** Deliveries that one statement sends again. */
const replayRows = 5_000;

/** Sends again what happened since then and is not pending, or of that only what failed. Gives back how many there are. */
export async function replayDeliveries(
  db: Database,
  {
    tenantId,
    endpointId,
    since,
    only,
  }: { tenantId: string; endpointId: string; since: string; only: 'failed' | 'all' },
): Promise<number> {
  let replayed = 0;
  let after: string | null = callbacksId;
  while (after !== null) {
    // why by ids: what was delivered again meanwhile is not met once more
    const page: QueryResult<{ count: number; last: string | null }> = await db.query(sql`
      with again as (
        select event_id from docket.webhook_deliveries
        where tenant_id = ${tenantId} and endpoint_id = ${endpointId} and event_id > ${after} and occurred_at >= ${since}::timestamptz
          and state in ('failed', ${only === 'all' ? 'delivered' : 'failed'})
        order by event_id limit ${replayRows}
      ), replayed as (
        update docket.webhook_deliveries d set ${sendAgain} from again
        where d.tenant_id = ${tenantId} and d.endpoint_id = ${endpointId} and d.event_id = again.event_id
      )
      select count(*)::int as count, max(event_id::text) as last from again`);
    await wakeDeliverers(db);
    replayed += page.rows[0]?.count ?? 0;
    after = page.rows[0]?.last ?? null;
  }
  return replayed;
}

interface Row {
  event_id: string;
  type: string;
  data: JsonObject;
  occurred_at: string;
  state: DeliveryState;
  next_attempt_at: string | null;
  url: string | null;
  attempts: LoggedAttempt[];
}

/** Newest first, behind the given event; one of them with `eventId`. */
export async function listDeliveries(
  db: Database,
  { tenantId, endpointId }: { tenantId: string; endpointId: string },
  filter: {
    eventId?: string;
    state?: DeliveryState | undefined;
    type?: string | undefined;
    after?: string | undefined;
    limit: number;
  },
): Promise<Delivery[]> {
  const { rows } = await db.query<Row>(sql`
    select d.event_id, d.type, d.data, d.occurred_at, d.state, d.next_attempt_at, coalesce(d.url, e.url) as url, d.attempts
    from docket.webhook_deliveries d
    join docket.webhook_endpoints e on e.tenant_id = d.tenant_id and e.endpoint_id = d.endpoint_id
    where d.tenant_id = ${tenantId} and d.endpoint_id = ${endpointId}
      ${filter.eventId === undefined ? empty : sql`and d.event_id = ${filter.eventId}`}
      ${filter.state === undefined ? empty : sql`and d.state = ${filter.state}`}
      ${filter.type === undefined ? empty : sql`and d.type = ${filter.type}`}
      ${filter.after === undefined ? empty : sql`and d.event_id < ${filter.after}`}
    order by d.event_id desc limit ${filter.limit}`);
  return rows.map((row) => ({
    eventId: row.event_id,
    type: row.type,
    data: row.data,
    occurredAt: row.occurred_at,
    state: row.state,
    nextAttemptAt: row.next_attempt_at,
    url: row.url,
    attempts: row.attempts,
  }));
}

/** Rows that one step of the removal takes. */
const stepRows = 1_000;

/** Removes what happened longer ago, also what still waits, a thousand at most. */
export async function removeOldDeliveries(db: Database, ttlSeconds: number): Promise<number> {
  const { rowCount } = await db.query(sql`
    delete from docket.webhook_deliveries d
    using (
      select tenant_id, endpoint_id, event_id from docket.webhook_deliveries
      where occurred_at < now() - make_interval(secs => ${ttlSeconds})
      order by occurred_at limit ${stepRows} for update skip locked
    ) old
    where d.tenant_id = old.tenant_id and d.endpoint_id = old.endpoint_id and d.event_id = old.event_id`);
  return rowCount;
}

/**
 * Removes deliveries whose endpoint is no more, a thousand at most. Until then nobody sees or attempts them.
 * why not with the endpoint: a transaction that saw it may still be writing one, and millions of them would be one long statement
 */
export async function removeOrphanedDeliveries(db: Database): Promise<number> {
  const { rowCount } = await db.query(sql`
    with recursive told as (
      (select tenant_id, endpoint_id from docket.webhook_deliveries order by tenant_id, endpoint_id limit 1)
      union all
      select next.tenant_id, next.endpoint_id from told
      cross join lateral (
        select d.tenant_id, d.endpoint_id from docket.webhook_deliveries d
        where (d.tenant_id, d.endpoint_id) > (told.tenant_id, told.endpoint_id)
        order by d.tenant_id, d.endpoint_id limit 1
      ) next
    ), orphaned as (
      select d.tenant_id, d.endpoint_id, d.event_id from told
      join docket.webhook_deliveries d on d.tenant_id = told.tenant_id and d.endpoint_id = told.endpoint_id
      where not exists (
        select from docket.webhook_endpoints e where e.tenant_id = told.tenant_id and e.endpoint_id = told.endpoint_id
      )
      limit ${stepRows}
    )
    delete from docket.webhook_deliveries d using orphaned o
    where d.tenant_id = o.tenant_id and d.endpoint_id = o.endpoint_id and d.event_id = o.event_id`);
  return rowCount;
}
