import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { v7 as newUuid } from 'uuid';
import type { Api, Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import {
  type DeliveryState,
  deliveryStates,
  insertDelivery,
  listDeliveries,
  replayDeliveries,
  resendDelivery,
} from '../webhooks/delivery-store.ts';
import type { Endpoint } from '../webhooks/endpoint-store.ts';
import { testEvent } from '../webhooks/events.ts';
import { parseEventId, presentEndpointId } from '../webhooks/ids.ts';
import { placeOf, replyPage } from './pages.ts';
import { CursorParameter, limitParameter, pageAnswer } from './schemas.ts';
import { EndpointParams, endpointOf, invalidField, ownKeyOf, unknownEndpoint } from './webhook-params.ts';
import { DeliverySchema, deliveryExample, presentDelivery } from './webhook-view.ts';

const Accepted = Type.Object(DeliverySchema.properties, {
  description: 'It is due at once.',
  examples: [{ ...deliveryExample, attempts: [] }],
});

/** What was delivered, or is to be, and sending by hand. */
export function registerDeliveryRoutes(app: Api, deps: Deps): void {
  registerLog(app, deps);
  registerSending(app, deps);
}

function registerLog(app: Api, deps: Deps): void {
  app.get(
    '/webhooks/:webhookId/deliveries',
    {
      config: { problems: ['not_found'] },
      schema: {
        tags: ['webhooks'],
        summary: 'List deliveries, newest first',
        description:
          'What an endpoint was sent, or is to be: the request, each attempt with its answer, and when the next is due.',
        params: EndpointParams,
        querystring: Type.Object({
          status: Type.Optional(Type.Enum([...deliveryStates], { type: 'string', description: 'Only these.' })),
          event: Type.Optional(
            Type.String({ maxLength: 255, pattern: '^[^\\u0000]*$', description: 'Only of this type.' }),
          ),
          limit: Type.Optional(limitParameter(100, 20)),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: pageAnswer(DeliverySchema, {
            description: 'A page.',
            examples: [{ items: [deliveryExample], nextCursor: null }],
          }),
        },
      },
    },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const { status, event, limit, cursor } = request.query as Record<string, string> & { limit: number };
      const endpoint = await endpointOf(deps, request);
      const { endpointId } = endpoint;
      const scope = JSON.stringify(['deliveries', endpointId, status, event]);
      const found = await listDeliveries(
        deps.pool,
        { tenantId, endpointId },
        {
          state: status as DeliveryState | undefined,
          type: event,
          after: placeOf(cursor, scope, parseEventId),
          limit: limit + 1,
        },
      );
      const shown = found.map((delivery) => presentDelivery(delivery, endpoint));
      return replyPage(request, reply, { found: shown, limit, scope, idOf: ({ deliveryId }) => deliveryId });
    },
  );
}

function registerSending(app: Api, deps: Deps): void {
  const { pool } = deps;
  app.post(
    '/webhooks/:webhookId/test',
    {
      config: { problems: ['not_found', 'constraint_violation'], optionalBody: true },
      schema: {
        tags: ['webhooks'],
        summary: 'Send a test event',
        description: `An event of the type \`${testEvent}\`, delivered like any other, whatever the endpoint subscribes.`,
        params: EndpointParams,
        response: { 202: Accepted },
      },
    },
    async (request, reply) => {
      const key = ownKeyOf(request);
      const endpoint = await endpointOf(deps, request);
      if (!endpoint.enabled) {
        const detail = 'The endpoint is disabled, so nothing is sent to it. Enable it first: PATCH {"enabled": true}.';
        throw new ApiError('constraint_violation', detail);
      }
      const eventId = newUuid();
      const data = { webhookId: presentEndpointId(key.endpointId) };
      await pool.transaction((tx) => insertDelivery(tx, { ...key, eventId, type: testEvent, data }));
      reply.code(202);
      return (await shownDelivery(deps, request, endpoint, eventId)) as never;
    },
  );

  app.post(
    '/webhooks/:webhookId/deliveries/:deliveryId/resend',
    {
      config: { problems: ['not_found'], optionalBody: true },
      schema: {
        tags: ['webhooks'],
        summary: 'Send a delivery again',
        description:
          'Whatever became of it, with the same `webhook-id`. Retries begin anew; the attempts so far stay in the log.',
        params: Type.Object({
          ...EndpointParams.properties,
          deliveryId: Type.String({ description: 'The id of the delivery.', examples: [deliveryExample.deliveryId] }),
        }),
        response: { 202: Accepted },
      },
    },
    async (request, reply) => {
      const { tenantId } = request.caller;
      const endpoint = await endpointOf(deps, request);
      const eventId = parseEventId(request.params.deliveryId);
      const found =
        eventId !== undefined && (await resendDelivery(pool, { tenantId, endpointId: endpoint.endpointId, eventId }));
      if (!found) {
        const id = JSON.stringify(request.params.deliveryId.slice(0, 100));
        throw new ApiError(
          'not_found',
          `The endpoint has no delivery ${id}. Deliveries are kept for days, not for ever.`,
        );
      }
      reply.code(202);
      return (await shownDelivery(deps, request, endpoint, eventId)) as never;
    },
  );

  app.post(
    '/webhooks/:webhookId/replay',
    {
      config: { problems: ['not_found', 'validation_failed'] },
      schema: {
        tags: ['webhooks'],
        summary: 'Send again what happened since',
        description:
          'All that was recorded for the endpoint since then and does not wait to be sent, each with its own `webhook-id` again. What ' +
          'happened while the endpoint was disabled was not recorded.',
        params: EndpointParams,
        body: Type.Object(
          {
            since: Type.String({ format: 'date-time', description: 'RFC 3339.' }),
            only: Type.Optional(
              Type.Enum(['all', 'failed'], {
                type: 'string',
                default: 'all',
                description: '`failed`: only what was given up.',
              }),
            ),
          },
          { additionalProperties: false, examples: [{ since: '2026-05-04T09:00:00Z', only: 'failed' }] },
        ),
        response: {
          202: Type.Object(
            { replayed: Type.Integer({ minimum: 0, description: 'Deliveries that are due again.' }) },
            { description: 'They are due at once.', examples: [{ replayed: 17 }] },
          ),
        },
      },
    },
    async (request, reply) => {
      const key = ownKeyOf(request);
      await endpointOf(deps, request);
      const { since: given, only = 'all' } = request.body as { since: string; only?: 'all' | 'failed' };
      const time = Date.parse(given);
      if (Number.isNaN(time)) throw invalidField('/since', 'There is no such time.');
      // why: nothing happened before, and the database does not know every year
      const since = new Date(Math.max(time, 0)).toISOString();
      reply.code(202);
      return { replayed: await replayDeliveries(pool, { ...key, since, only }) } as never;
    },
  );
}

/** The delivery as it stands now. Throws `not_found` where it was removed meanwhile. */
async function shownDelivery({ pool }: Deps, request: FastifyRequest, endpoint: Endpoint, eventId: string) {
  const key = { tenantId: request.caller.tenantId, endpointId: endpoint.endpointId };
  const [delivery] = await listDeliveries(pool, key, { eventId, limit: 1 });
  if (!delivery) throw unknownEndpoint(request);
  return presentDelivery(delivery, endpoint);
}
