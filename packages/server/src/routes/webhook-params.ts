import type { BatchOptions } from '@docket/engine';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { type Endpoint, ensureCallbacks, findEndpoint } from '../webhooks/endpoint-store.ts';
import { callbacksId, parseEndpointId } from '../webhooks/ids.ts';
import { newSecret } from '../webhooks/signature.ts';
import { checkUrl, type TargetPolicy, TargetRefused } from '../webhooks/targets.ts';
import { basePath } from './job-view.ts';
import { endpointExample } from './webhook-view.ts';

export const EndpointParams = Type.Object({
  webhookId: Type.String({
    description: 'The id of the endpoint; `callbacks` for what `callbackUrl` of single jobs is sent.',
    examples: [endpointExample.webhookId],
  }),
});

const urlLength = 2_048;

/** The URL in its normal form. Throws `validation_failed` where webhooks are surely not sent to it. */
export function readTarget(text: string, pointer: string, targets: TargetPolicy): string {
  try {
    const { href } = checkUrl(text, targets);
    if (href.length <= urlLength) return href;
    throw new TargetRefused(`In its normal form it has ${href.length} characters; it may have ${urlLength}.`);
  } catch (error) {
    if (error instanceof TargetRefused)
      throw invalidField(pointer, `Webhooks are not sent to this URL. ${error.message}`);
    throw error;
  }
}

export function invalidField(pointer: string, message: string): ApiError {
  return new ApiError('validation_failed', message, { errors: [{ pointer, message }] });
}

interface EndpointKey {
  tenantId: string;
  endpointId: string;
}

/** The endpoint that the path names, or the callbacks. Throws `not_found` for what is no id. */
export function keyOf(request: FastifyRequest): EndpointKey {
  const endpointId = parseEndpointId((request.params as { webhookId: string }).webhookId);
  if (endpointId === undefined) throw unknownEndpoint(request);
  return { tenantId: request.caller.tenantId, endpointId };
}

/** The same, but not the callbacks, which are nobody's to change. */
export function ownKeyOf(request: FastifyRequest): EndpointKey {
  const key = keyOf(request);
  if (key.endpointId === callbacksId) throw unknownEndpoint(request);
  return key;
}

/** Throws `not_found`. */
export async function endpointOf({ pool }: Deps, request: FastifyRequest): Promise<Endpoint> {
  const { tenantId, endpointId } = keyOf(request);
  const endpoint = await findEndpoint(pool, tenantId, endpointId);
  if (!endpoint) throw unknownEndpoint(request);
  return endpoint;
}

export function unknownEndpoint(request: FastifyRequest): ApiError {
  const { webhookId } = request.params as { webhookId: string };
  if (parseEndpointId(webhookId) === callbacksId) {
    const detail =
      'The callbacks of jobs have a secret and a log of deliveries, from the first `callbackUrl` or rotation on, and nothing else.';
    return new ApiError('not_found', `${detail} POST ${basePath}/webhooks/callbacks/rotate makes a secret.`);
  }
  return new ApiError('not_found', `There is no webhook endpoint ${JSON.stringify(webhookId.slice(0, 100))}.`);
}

/** Options whose `callbackUrl` can be told, and signed, when the job ends. Throws `validation_failed`. */
export async function takeCallback(
  { pool, webhookTargets, webhookSecrets }: Deps,
  request: FastifyRequest,
  options: BatchOptions,
  pointer: string,
): Promise<BatchOptions> {
  if (options.callbackUrl === undefined) return options;
  const callbackUrl = readTarget(options.callbackUrl, pointer, webhookTargets);
  const { tenantId } = request.caller;
  await ensureCallbacks(pool, tenantId, webhookSecrets.seal(newSecret(), { tenantId, endpointId: callbacksId }));
  return { ...options, callbackUrl };
}
