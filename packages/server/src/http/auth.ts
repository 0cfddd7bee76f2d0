import type { Caller } from '@docket/engine';
import type { FastifyRequest, onRequestHookHandler } from 'fastify';
import type { ApiKeys } from '../api-keys.ts';
import { ApiError } from './problems.ts';

/** A hook that lets only requests with a key in force pass, and puts the caller on them. Answers `unauthenticated` otherwise. */
export function requireKey(keys: ApiKeys): onRequestHookHandler {
  return (request, reply, done) => {
    // why: what was just written must be read from here, not from a copy on the way
    reply.header('cache-control', 'private, no-cache');
    const key = keyOf(request);
    if (key === undefined) {
      done(unauthenticated('The request has no API key. Send "Authorization: Bearer <key>".'));
      return;
    }
    const caller = keys.identify(key);
    if (caller instanceof Promise) caller.then((found) => admit(request, found, done), done);
    else admit(request, caller, done);
  };
}

/** Throws `unauthenticated` unless the request has a key in force. */
export async function checkKey(keys: ApiKeys, request: FastifyRequest): Promise<void> {
  const key = keyOf(request);
  if (key === undefined || !(await keys.identify(key))) {
    throw unauthenticated('The request has no API key that is in force. Send "Authorization: Bearer <key>".');
  }
}

function admit(request: FastifyRequest, caller: Caller | null, done: (error?: Error) => void): void {
  if (!caller) {
    done(unauthenticated('The API key is unknown, expired or revoked. Use one that is in force.'));
    return;
  }
  request.caller = caller;
  done();
}

function unauthenticated(detail: string): ApiError {
  return new ApiError('unauthenticated', detail);
}

function keyOf(request: FastifyRequest): string | undefined {
  const { authorization } = request.headers;
  if (authorization !== undefined) return bearer.exec(authorization)?.[1];
  const header = request.headers['x-api-key'];
  return typeof header === 'string' && header !== '' ? header : undefined;
}

const bearer = /^bearer +([^\s]+) *$/i;
