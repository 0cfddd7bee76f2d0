import type { Socket } from 'node:net';
import type { Engine } from '@docket/engine';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { ApiKeys } from './api-keys.ts';
import type { Api, Deps } from './http/api.ts';
import { checkKey, requireKey } from './http/auth.ts';
import { allowOrigins } from './http/cors.ts';
import { registerErrorPages } from './http/error-pages.ts';
import { answerBrokenRequest, answerError, type ProblemOptions } from './http/errors.ts';
import { readJsonBodies } from './http/json-body.ts';
import { KnownPaths } from './http/known-paths.ts';
import { createMetrics, type Metrics } from './http/metrics.ts';
import { documentRoutes } from './http/openapi.ts';
import { ApiError } from './http/problems.ts';
import { registerReference } from './http/reference.ts';
import { identifyRequests, measureRoute, requestIdOf } from './http/request-context.ts';
import { registerLimitsRoute, registerServiceRoutes } from './http/service-routes.ts';
import { createValidatorCompiler, refuseUnknownParameters } from './http/validation.ts';
import { registerBulkRoutes } from './routes/bulk.ts';
import { registerBulkJobRoutes } from './routes/bulk-jobs.ts';
import { registerCaseTypeRoutes } from './routes/case-types.ts';
import { registerCaseRoutes } from './routes/cases.ts';
import { registerJobRoutes } from './routes/jobs.ts';
import { registerRecordRoutes } from './routes/records.ts';
import { registerUsageRoute } from './routes/usage.ts';
import { registerWebhookRoutes } from './routes/webhooks.ts';
import { version } from './version.ts';
import { SealedSecrets } from './webhooks/sealed-secrets.ts';
import { defaultPolicy, type TargetPolicy } from './webhooks/targets.ts';

export interface AppOptions {
  engine: Engine;
  keys: ApiKeys;
  /** Nothing is logged without one. */
  logger?: FastifyBaseLogger;
  metrics?: Metrics;
  /** Scheme and authority under which clients reach the server, for links to error pages. Default: as each request names it. */
  publicUrl?: string;
  /** Origins whose pages may call the API; none by default. */
  corsOrigins?: readonly string[];
  /** Where webhooks may go. Default: public addresses, ports 80 and 443. */
  webhookTargets?: TargetPolicy;
  /** How webhooks' secrets are stored. Default: as they are. */
  webhookSecrets?: SealedSecrets;
}

/** The server, not yet listening. Builds and registers, and does nothing else: no database, no environment, no files. */
export async function buildApp(options: AppOptions): Promise<Api> {
  const { engine, keys } = options;
  const metrics = options.metrics ?? createMetrics();
  const closing = new AbortController();
  const deps: Deps = {
    engine,
    pool: engine.pool,
    metrics,
    closing: closing.signal,
    webhookTargets: options.webhookTargets ?? defaultPolicy,
    webhookSecrets: options.webhookSecrets ?? new SealedSecrets(),
  };
  const problems: ProblemOptions = { publicUrl: options.publicUrl, bodyBytes: engine.limits.bodyBytes };
  const app: Api = Fastify({
    ...(options.logger ? { loggerInstance: options.logger } : {}),
    // why: a logger per request costs more than the rest of a small one; what is logged carries the request's id itself
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestIdOf,
    requestIdHeader: false,
    bodyLimit: engine.limits.bodyBytes,
    // why: ids of any length are answered with "not found", not with "no such path"
    routerOptions: { maxParamLength: 65_536 },
    return503OnClosing: false,
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply, problems),
  });
  const paths = new KnownPaths();
  const notFound = notFoundHandler(paths, keys, metrics);

  app.setValidatorCompiler(createValidatorCompiler());
  endConnectionsAtClose(app, closing);
  if (options.corsOrigins?.length) await allowOrigins(app, options.corsOrigins);
  app.addHook('onRoute', (route) => {
    paths.add(route);
    refuseUnknownParameters(route);
    measureRoute(app, metrics, route);
  });
  identifyRequests(app);
  readJsonBodies(app);
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(error, request, reply, problems));
  app.setNotFoundHandler(notFound);
  await documentRoutes(app, version);

  registerServiceRoutes(app, deps, version);
  registerErrorPages(app);
  registerReference(app);
  await app.register(async (root: Api) => {
    root.addHook('onRequest', requireKey(keys));
    registerBulkJobRoutes(root, deps);
  });
  await app.register(
    async (api: Api) => {
      api.addHook('onRequest', requireKey(keys));
      api.setNotFoundHandler(notFound);
      registerCaseRoutes(api, deps);
      for (const name of engine.collections.keys()) if (name !== 'cases') registerRecordRoutes(api, deps, name);
      registerBulkRoutes(api, deps);
      registerJobRoutes(api, deps);
      registerBulkJobRoutes(api, deps);
      registerCaseTypeRoutes(api, deps);
      registerWebhookRoutes(api, deps);
      registerUsageRoute(api, deps);
      registerLimitsRoute(api, deps);
    },
    { prefix: '/api/v1' },
  );
  refuseHiddenMethods(app, paths, keys);
  return app;
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>;

/** Tells what waits that the server closes, and lets go of each connection as soon as its answer is out. */
function endConnectionsAtClose(app: Api, closing: AbortController): void {
  let sweep: NodeJS.Timeout | undefined;
  const sockets = new Set<Socket>();
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  app.addHook('preClose', (done) => {
    closing.abort();
    // why: a connection that is busy now would be kept alive after its answer, and closing would wait for it; one that was never used
    // does not count as idle
    sweep = setInterval(() => {
      app.server.closeIdleConnections();
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    }, 20).unref();
    done();
  });
  app.addHook('onClose', (_app, done) => {
    clearInterval(sweep);
    done();
  });
}

/** 404 for an unknown path, 405 with Allow for a known one. Without a key, protected paths tell nothing. */
function notFoundHandler(paths: KnownPaths, keys: ApiKeys, metrics: Metrics): Handler {
  const observe = metrics.requestTimer('any', 'none');
  return async (request, reply) => {
    observe(404, reply.elapsedTime);
    const [path = '/'] = request.url.split('?', 1);
    if (/^\/(api\/v1|bulk-jobs)(\/|$)/.test(path)) await checkKey(keys, request);
    const methods = paths.methodsAt(path);
    if (!methods) {
      throw new ApiError('route_not_found', `There is nothing at ${path.slice(0, 200)}. The reference is at /docs.`);
    }
    const allow = methods.join(', ');
    if (request.method === 'OPTIONS') return reply.code(204).header('allow', allow).send();
    throw new ApiError('method_not_allowed', `${path} has no ${request.method}; it has ${allow}.`, {
      headers: { allow },
    });
  };
}

function refuseHiddenMethods(app: Api, paths: KnownPaths, keys: ApiKeys): void {
  const hidden = paths.hidden();
  paths.seal();
  for (const { url, methods } of hidden) {
    const allow = paths.methodsAt(url)?.join(', ') ?? '';
    app.route({
      url,
      method: methods,
      schema: { hide: true },
      exposeHeadRoute: false,
      onRequest: requireKey(keys),
      handler: (request) => {
        throw new ApiError('method_not_allowed', `${url} has no ${request.method}; it has ${allow}.`, {
          headers: { allow },
        });
      },
    });
  }
}
