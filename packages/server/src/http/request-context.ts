import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import type { Api } from './api.ts';
import { emptyBody } from './json-body.ts';
import type { Metrics } from './metrics.ts';

/** The client's own request id where it is sane, else a new one. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\x21-\x7e]{1,128}$/.test(given) ? given : newRequestId();
}

// why not a UUID each: making one costs more than all else that is done for a small request
const idPrefix = `req_${randomBytes(12).toString('hex')}_`;
let requests = 0;

function newRequestId(): string {
  requests += 1;
  return idPrefix + requests.toString(36);
}

const traceparentForm = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/;

/** Gives each request its id (in the answer too), its trace context and its caller's place. */
export function identifyRequests(app: Api): void {
  app.decorateRequest('caller', null as never);
  app.decorateRequest('traceparent', {
    getter() {
      const given = this.headers.traceparent;
      if (typeof given !== 'string' || given.length > 512 || !traceparentForm.test(given)) return undefined;
      // why: version 00 has exactly four parts; a later one may have more
      return given.startsWith('00') && given.length !== 55 ? undefined : given;
    },
  });
  app.addHook('onRequest', (request, reply, done) => {
    request.rawBody = emptyBody;
    reply.header('x-request-id', request.id);
    done();
  });
}

/**
 * Measures a route, from the request to the answer; to be used as an `onRoute` hook. Each route gets its own hook, so that
 * nothing is looked up per request. At log level debug each answer is logged.
 * why `onSend` and not `onResponse`: listening for the end of each answer costs a tenth of a small request.
 */
export function measureRoute(app: Api, metrics: Metrics, route: RouteOptions): void {
  const observers = new Map<string, (status: number, milliseconds: number) => void>();
  for (const method of [route.method].flat()) observers.set(method, metrics.requestTimer(method, route.url));
  const [only] = observers.size === 1 ? observers.values() : [];
  const verbose = app.log.level === 'debug' || app.log.level === 'trace';
  const observe = (request: FastifyRequest, reply: FastifyReply) => {
    const milliseconds = reply.elapsedTime;
    (only ?? observers.get(request.method))?.(reply.statusCode, milliseconds);
    if (!verbose) return;
    const { id: requestId, method, url } = request;
    request.log.debug({ requestId, method, url, status: reply.statusCode, milliseconds }, 'request');
  };
  route.onSend = [
    ...[route.onSend ?? []].flat(),
    (request, reply, payload, done) => {
      if (payload instanceof Readable) payload.once('close', () => observe(request, reply));
      else observe(request, reply);
      done(null, payload);
    },
  ];
}
