import { Type } from 'typebox';
import { v7 as newUuid } from 'uuid';
import type { Api, Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import {
  deleteEndpoint,
  ensureCallbacks,
  insertEndpoint,
  listEndpoints,
  rotateSecret,
  updateEndpoint,
} from '../webhooks/endpoint-store.ts';
import { type Envelope, eventTypes } from '../webhooks/events.ts';
import { callbacksId, parseEndpointId, presentEndpointId } from '../webhooks/ids.ts';
import { newSecret } from '../webhooks/signature.ts';
import { basePath } from './job-view.ts';
import { placeOf, replyPage } from './pages.ts';
import { CursorParameter, limitParameter, pageAnswer } from './schemas.ts';
import { registerDeliveryRoutes } from './webhook-deliveries.ts';
import {
  EndpointParams,
  endpointOf,
  invalidField,
  keyOf,
  ownKeyOf,
  readTarget,
  unknownEndpoint,
} from './webhook-params.ts';
import {
  EndpointSchema,
  endpointExample,
  endpointFields,
  NewEndpointSchema,
  presentEndpoint,
  RotatedSchema,
  secretExample,
} from './webhook-view.ts';

const mostEndpoints = 100;

const { url, events, enabled, envelope } = endpointFields;
const created = { url, events, enabled: Type.Optional(enabled), envelope: Type.Optional(envelope) };
const changed = Type.Partial(Type.Object(endpointFields), {
  additionalProperties: false,
  examples: [{ enabled: true }],
});

type Fields = Partial<{ url: string; events: string[]; enabled: boolean; envelope: Envelope }>;

/** Webhooks: endpoints, their secrets, and what was delivered to them. */
export function registerWebhookRoutes(app: Api, deps: Deps): void {
  registerEndpointRoutes(app, deps);
  registerEndpointChanges(app, deps);
  registerDeliveryRoutes(app, deps);
}

function registerEndpointRoutes(app: Api, deps: Deps): void {
  const { pool, webhookSecrets } = deps;
  app.post(
    '/webhooks',
    {
      config: { problems: ['validation_failed', 'constraint_violation'] },
      schema: {
        tags: ['webhooks'],
        summary: 'Add an endpoint',
        description:
          'It is sent what happens from now on, signed as Standard Webhooks 1.0 has it. The secret is in this answer and in no other. A ' +
          `tenant may have ${mostEndpoints} endpoints.`,
        body: Type.Object(created, {
          additionalProperties: false,
          examples: [{ url: endpointExample.url, events: endpointExample.events }],
        }),
        response: {
          201: Type.Object(NewEndpointSchema.properties, {
            description: 'Added.',
            examples: [{ ...endpointExample, secret: secretExample }],
            headers: { Location: { type: 'string', description: 'The endpoint.' } },
          } as never),
        },
      },
    },
    async (request, reply) => {
      const fields = readFields(deps, request.body as Fields);
      const secret = newSecret();
      const key = { tenantId: request.caller.tenantId, endpointId: newUuid() };
      const endpoint = await insertEndpoint(pool, {
        ...key,
        url: fields.url ?? '',
        events: fields.events ?? [],
        envelope: fields.envelope ?? 'standard',
        enabled: fields.enabled ?? true,
        secret: webhookSecrets.seal(secret, key),
        most: mostEndpoints,
      });
      if (!endpoint) {
        const detail = `There are ${mostEndpoints} endpoints; there may be no more. Remove one, or send more events to one.`;
        throw new ApiError('constraint_violation', detail, { limit: mostEndpoints });
      }
      reply.code(201).header('location', `${basePath}/webhooks/${presentEndpointId(endpoint.endpointId)}`);
      return { ...presentEndpoint(endpoint), secret } as never;
    },
  );

  app.get(
    '/webhooks',
    {
      schema: {
        tags: ['webhooks'],
        summary: 'List endpoints, newest first',
        querystring: Type.Object({
          limit: Type.Optional(limitParameter(100, 50)),
          cursor: Type.Optional(CursorParameter),
        }),
        response: {
          200: pageAnswer(EndpointSchema, {
            description: 'A page.',
            examples: [{ items: [endpointExample], nextCursor: null }],
          }),
        },
      },
    },
    async (request, reply) => {
      const { limit, cursor } = request.query as { limit: number; cursor?: string };
      const scope = 'webhooks';
      const after = placeOf(cursor, scope, parseEndpointId);
      const found = await listEndpoints(pool, request.caller.tenantId, { after, limit: limit + 1 });
      return replyPage(request, reply, {
        found: found.map(presentEndpoint),
        limit,
        scope,
        idOf: ({ webhookId }) => webhookId,
      });
    },
  );

  app.get(
    '/webhooks/:webhookId',
    {
      config: { problems: ['not_found'] },
      schema: {
        tags: ['webhooks'],
        summary: 'Read an endpoint',
        params: EndpointParams,
        response: {
          200: Type.Object(EndpointSchema.properties, { description: 'The endpoint.', examples: [endpointExample] }),
        },
      },
    },
    async (request) => presentEndpoint(await endpointOf(deps, request)) as never,
  );
}

function registerEndpointChanges(app: Api, deps: Deps): void {
  const { pool, webhookSecrets } = deps;
  app.patch(
    '/webhooks/:webhookId',
    {
      config: { problems: ['not_found', 'validation_failed'] },
      schema: {
        tags: ['webhooks'],
        summary: 'Change an endpoint',
        description:
          'What is left out stays. With `enabled: true` an endpoint that was disabled starts anew, and what waited for it goes out.',
        params: EndpointParams,
        body: changed,
        response: {
          200: Type.Object(EndpointSchema.properties, {
            description: 'The endpoint as it is now.',
            examples: [endpointExample],
          }),
        },
      },
    },
    async (request) => {
      const fields = readFields(deps, request.body as Fields);
      const endpoint = await updateEndpoint(pool, ownKeyOf(request), fields);
      if (!endpoint) throw unknownEndpoint(request);
      return presentEndpoint(endpoint) as never;
    },
  );

  app.delete(
    '/webhooks/:webhookId',
    {
      config: { problems: ['not_found'] },
      schema: {
        tags: ['webhooks'],
        summary: 'Remove an endpoint',
        description: 'With its deliveries, also those that wait.',
        params: EndpointParams,
        response: { 204: Type.Null({ description: 'Removed.' }) },
      },
    },
    async (request, reply) => {
      const { tenantId, endpointId } = ownKeyOf(request);
      if (!(await deleteEndpoint(pool, tenantId, endpointId))) throw unknownEndpoint(request);
      reply.code(204);
      return null as never;
    },
  );

  app.post(
    '/webhooks/:webhookId/rotate',
    {
      config: { problems: ['not_found'], optionalBody: true },
      schema: {
        tags: ['webhooks'],
        summary: 'Make a new secret',
        description:
          'The secret is in this answer and in no other. For 24 hours deliveries are signed with the old one too; one that was rotated ' +
          'before is over at once. For `callbacks` this is how to come by their secret.',
        params: EndpointParams,
        response: {
          200: Type.Object(RotatedSchema.properties, {
            description: 'The new secret.',
            examples: [
              {
                webhookId: endpointExample.webhookId,
                secret: secretExample,
                oldSecretUntil: '2026-05-05T09:12:31.113Z',
              },
            ],
          }),
        },
      },
    },
    async (request) => {
      const key = keyOf(request);
      const secret = newSecret();
      if (key.endpointId === callbacksId)
        await ensureCallbacks(pool, key.tenantId, webhookSecrets.seal(newSecret(), key));
      const rotated = await rotateSecret(pool, key, webhookSecrets.seal(secret, key));
      if (!rotated) throw unknownEndpoint(request);
      return { webhookId: presentEndpointId(key.endpointId), secret, ...rotated } as never;
    },
  );
}

/** Throws `validation_failed` for a URL that is not sent to, and for events that there are not. */
function readFields({ engine, webhookTargets }: Deps, fields: Fields): Fields {
  const known = eventTypes(engine.collections.keys());
  for (const [index, event] of (fields.events ?? []).entries()) {
    if (!known.includes(event)) {
      throw invalidField(
        `/events/${index}`,
        `There is no event ${JSON.stringify(event.slice(0, 100))}. The events are: ${known.join(', ')}.`,
      );
    }
  }
  return {
    ...fields,
    ...(fields.events === undefined ? {} : { events: [...new Set(fields.events)] }),
    ...(fields.url === undefined ? {} : { url: readTarget(fields.url, '/url', webhookTargets) }),
  };
}
