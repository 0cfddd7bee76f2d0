import { createHash } from 'node:crypto';
import type { Submission } from '@docket/engine';
import type { FastifyRequest } from 'fastify';
import { parseItem } from 'structured-headers';
import { ApiError } from '../http/problems.ts';

const bareKey = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+$/;

/**
 * The value of an Idempotency-Key header: a structured-field String (RFC 8941), so quoted; most clients send it bare, which is
 * the same key. Throws `idempotency_key_invalid`.
 */
export function parseIdempotencyKey(header: string | string[], maxLength: number): string {
  const value = Array.isArray(header) ? header.join(', ') : header.trim();
  const key = value.startsWith('"') ? parseQuoted(value) : value;
  if (key === undefined || (!value.startsWith('"') && key !== '' && !bareKey.test(key))) {
    throw invalid('The Idempotency-Key must be one structured-field string, for example "7b6f2c" with its quotes.');
  }
  if (key.length === 0 || key.length > maxLength) {
    throw invalid(`The Idempotency-Key must have 1 to ${maxLength} characters; it has ${key.length}.`);
  }
  return key;
}

function parseQuoted(value: string): string | undefined {
  try {
    const [key] = parseItem(value);
    return typeof key === 'string' ? key : undefined;
  } catch {
    return undefined;
  }
}

function invalid(message: string): ApiError {
  return new ApiError('idempotency_key_invalid', message, { errors: [{ pointer: '/Idempotency-Key', message }] });
}

/**
 * What a submission needs to be repeated safely, where the request has a key. The key is bound to what is asked (`about` and the
 * body as it was sent), not to how: PATCH and POST of one batch are the same request.
 */
export function idempotencyOf(
  request: FastifyRequest,
  maxLength: number,
  about: readonly (string | number | null)[],
): Pick<Submission, 'idempotency'> {
  const header = request.headers['idempotency-key'];
  if (header === undefined) return {};
  const key = parseIdempotencyKey(header, maxLength);
  const payloadHash = createHash('sha256')
    .update(JSON.stringify(about))
    .update('\n')
    .update(request.rawBody)
    .digest('hex');
  return { idempotency: { key, payloadHash } };
}
