import { Type } from 'typebox';
import type { Delivery } from '../webhooks/delivery-store.ts';
import { deliveryStates } from '../webhooks/delivery-store.ts';
import type { Endpoint } from '../webhooks/endpoint-store.ts';
import { type Envelope, envelopes, renderEvent } from '../webhooks/events.ts';
import { presentEndpointId, presentEventId } from '../webhooks/ids.ts';
import { nullable } from './schemas.ts';

const time = (description: string) => Type.String({ format: 'date-time', description });

/** What the owner sets of an endpoint. */
export const endpointFields = {
  url: Type.String({
    minLength: 1,
    maxLength: 2_048,
    description: 'Where to send: http or https, at a public address.',
  }),
  events: Type.Array(Type.String(), {
    minItems: 1,
    maxItems: 100,
    description: '`job.completed`, `job.failed`, `job.cancelled`, and for each collection such as `cases.updated`.',
  }),
  enabled: Type.Boolean({ description: 'While it is false nothing is sent, and what happens is not recorded for it.' }),
  envelope: Type.Enum([...envelopes], {
    type: 'string',
    default: 'standard',
    description: '`standard`: `{type, timestamp, data}`; `cloudevents`: CloudEvents 1.0 as JSON.',
  }),
};

const endpointProperties = {
  webhookId: Type.String({ pattern: '^(wh_[0-9a-f]{32}|callbacks)$' }),
  ...endpointFields,
  url: nullable(Type.String({ description: 'Null of `callbacks`: each job brings its own.' })),
  disabledReason: nullable(Type.String({ description: 'Why it was disabled, where nobody asked for it.' })),
  failingSince: nullable(time('Since when every attempt has failed.')),
  createdAt: time('When it was added.'),
  updatedAt: time('When its owner changed it last.'),
};
export const EndpointSchema = Type.Object(endpointProperties);

const SecretSchema = Type.String({ pattern: '^whsec_', description: 'Shown this once. Verify deliveries with it.' });
export const NewEndpointSchema = Type.Object({ ...endpointProperties, secret: SecretSchema });
export const RotatedSchema = Type.Object({
  webhookId: endpointProperties.webhookId,
  secret: SecretSchema,
  oldSecretUntil: time('Until then deliveries are signed with the old secret too.'),
});

export const endpointExample = {
  webhookId: 'wh_0199c1d27c1e7b6a9f652f6f0c1f3a10',
  url: 'https://desk.example.com/hooks/docket',
  events: ['job.completed', 'job.failed', 'cases.updated'],
  enabled: true,
  envelope: 'standard',
  disabledReason: null,
  failingSince: null,
  createdAt: '2026-05-04T09:12:31.113Z',
  updatedAt: '2026-05-04T09:12:31.113Z',
};
export const secretExample = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=';

const AttemptSchema = Type.Object({
  at: time('When it was begun.'),
  durationMs: Type.Integer(),
  url: Type.String({ description: 'Where it was sent to.' }),
  responseStatus: nullable(Type.Integer({ description: 'Null: there was no answer.' })),
  responseBody: nullable(Type.String({ description: 'Its first 1,024 bytes.' })),
  error: nullable(Type.String({ description: 'Why it failed; null when it was received.' })),
});

export const DeliverySchema = Type.Object({
  deliveryId: Type.String({
    pattern: '^msg_[0-9a-f]{32}$',
    description: 'The `webhook-id` of each of its attempts, and of the same event at other endpoints.',
  }),
  webhookId: endpointProperties.webhookId,
  event: Type.String(),
  status: Type.Enum([...deliveryStates], {
    type: 'string',
    description: '`pending`: to be sent, or sent again; `failed`: given up.',
  }),
  occurredAt: time('When it happened.'),
  nextAttemptAt: nullable(
    time('When it is due; while an attempt is under way, when another process would take it over.'),
  ),
  request: Type.Object({
    method: Type.String(),
    url: Type.String(),
    contentType: Type.String(),
    body: Type.String({ description: 'As it is sent and signed.' }),
  }),
  attempts: Type.Array(AttemptSchema, { description: 'The latest 20, oldest first.' }),
});

export const deliveryExample = {
  deliveryId: 'msg_0199c1d27c1e7b6a9f652f6f0c1f3a11',
  webhookId: endpointExample.webhookId,
  event: 'cases.updated',
  status: 'pending',
  occurredAt: '2026-05-04T09:20:02.871Z',
  nextAttemptAt: '2026-05-04T09:20:08.214Z',
  request: {
    method: 'POST',
    url: endpointExample.url,
    contentType: 'application/json',
    body: '{"type":"cases.updated","timestamp":"2026-05-04T09:20:02.871Z","data":{"jobId":"job_0199c1d27c1e7b6a9f652f6f0c1f3a10","collection":"cases","ids":["CASE-001"]}}',
  },
  attempts: [
    {
      at: '2026-05-04T09:20:02.893Z',
      durationMs: 41,
      url: endpointExample.url,
      responseStatus: 503,
      responseBody: 'try later',
      error: 'The receiver answered 503.',
    },
  ],
};

export function presentEndpoint({ endpointId, ...endpoint }: Endpoint) {
  return { webhookId: presentEndpointId(endpointId), ...endpoint };
}

export function presentDelivery(
  delivery: Delivery,
  { endpointId, envelope }: { endpointId: string; envelope: Envelope },
) {
  const { body, contentType } = renderEvent(delivery, envelope);
  return {
    deliveryId: presentEventId(delivery.eventId),
    webhookId: presentEndpointId(endpointId),
    event: delivery.type,
    status: delivery.state,
    occurredAt: delivery.occurredAt,
    nextAttemptAt: delivery.nextAttemptAt,
    request: { method: 'POST', url: delivery.url ?? '', contentType, body },
    attempts: delivery.attempts.map(({ status, answer, error, ...rest }) => ({
      ...rest,
      responseStatus: status,
      responseBody: answer,
      error,
    })),
  };
}
