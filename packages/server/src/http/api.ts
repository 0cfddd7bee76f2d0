import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller, Engine, Pool } from '@docket/engine';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { SealedSecrets } from '../webhooks/sealed-secrets.ts';
import type { TargetPolicy } from '../webhooks/targets.ts';
import type { Metrics } from './metrics.ts';
import type { ProblemCode } from './problems.ts';

/** The server as routes see it: schemas written with TypeBox give the types of body, query, params and replies. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** What every route may use. */
export interface Deps {
  engine: Engine;
  /** For the server's own tables; records are read and written through the engine. */
  pool: Pool;
  metrics: Metrics;
  /** Where webhooks may go. */
  webhookTargets: TargetPolicy;
  /** How webhooks' secrets are stored. */
  webhookSecrets: SealedSecrets;
  /** Aborts when the server drains: long waits answer at once. */
  closing: AbortSignal;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls; set on every route that asks for a key. */
    caller: Caller;
    /** The body as it was sent; empty where there was none. */
    rawBody: Buffer;
    /** Bytes of `rawBody`. */
    bodyBytes: number;
    /** W3C trace context, where the request carried a well-formed one. */
    readonly traceparent: string | undefined;
  }

  interface FastifyContextConfig {
    /** Codes this route answers with beyond those that every route may; for the reference. */
    problems?: readonly ProblemCode[];
    /** A JSON request may have an empty body. */
    optionalBody?: boolean;
  }
}
