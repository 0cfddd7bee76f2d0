import { type Database, type Effect, empty, join, type Sql, sql } from '@docket/engine';
import { v7 as newUuid } from 'uuid';
import { splitIds, updatedEvent } from './events.ts';
import { callbacksId } from './ids.ts';

/** Told on this channel: there is something to deliver. */
export const webhookChannel = 'docket_webhooks';

/**
 * Writes, in the transaction that makes it happen, what endpoints are to be told: one statement, sent with the others, that inserts
 * nothing where nobody wants it. The ends of jobs whose results were the answer to their request are told to their `callbackUrl` alone.
 */
export async function recordEvents(db: Database, { tenantId, jobId, changed, endedJob }: Effect): Promise<void> {
  const events: Sql[] = [];
  let callback = empty;
  if (changed) {
    const { collection, ids, traceparent } = changed;
    const parts = splitIds(ids).map((part) => JSON.stringify({ jobId, collection, ids: part }));
    events.push(sql`
      select part.event_id, ${updatedEvent(collection)}::text as type, part.data::json, clock_timestamp() as occurred_at,
        ${traceparent}::text as traceparent
      from unnest(${parts.map(() => newUuid())}::uuid[], ${parts}::text[]) as part(event_id, data)`);
  }
  if (endedJob) {
    const end = sql`${newUuid()}::uuid as event_id, 'job.' || j.status as type, j.job as data, j.completed_at as occurred_at, j.traceparent`;
    events.push(sql`select ${end} from ${endedJob} j where not j.synchronous`);
    callback = sql`
      union all
      select ${callbacksId}::uuid, 'callbacks ' || substring(j.callback_url from '^[^/]+//[^/?]+'), j.callback_url, ${end}
      from ${endedJob} j where j.callback_url is not null`;
  }
  await db.query(sql`
    with told as (
      insert into docket.webhook_deliveries
        (tenant_id, endpoint_id, lane, url, event_id, type, data, occurred_at, traceparent, next_attempt_at)
      select ${tenantId}, wanted.*, now() from (
        select e.endpoint_id, e.endpoint_id::text as lane, null as url, happened.*
        from docket.webhook_endpoints e
        join (${join(events, ' union all ')}) happened on happened.type = any (e.events)
        where e.tenant_id = ${tenantId} and e.enabled
        ${callback}
      ) wanted
      returning 1
    )
    select pg_notify(${webhookChannel}, '') from told limit 1`);
}
