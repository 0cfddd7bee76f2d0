import cors from '@fastify/cors';
import type { Api } from './api.ts';

/** Response headers that pages of other origins may read. */
const exposedHeaders = [
  'ETag',
  'Idempotency-Replayed',
  'Link',
  'Location',
  'Preference-Applied',
  'Retry-After',
  'X-Request-Id',
];

/**
 * Lets pages of these origins call the API (CORS); those of others may not. To be registered before the routes are counted: its
 * own route takes OPTIONS of every path.
 */
export async function allowOrigins(app: Api, origins: readonly string[]): Promise<void> {
  const settings = {
    origin: [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE'],
    exposedHeaders,
    maxAge: 3_600,
  };
  await app.register(cors, {
    // why: an OPTIONS that asks for no permission is answered as it is without CORS
    delegator: (request, done) =>
      done(null, { ...settings, preflight: request.headers['access-control-request-method'] !== undefined }),
  });
}
