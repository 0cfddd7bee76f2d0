import { defaultLimits, type Limits } from '@docket/engine';
import { Type } from 'typebox';
import type { Api, Deps } from './api.ts';
import { describeApi } from './openapi.ts';

/** Routes that need no key: health, metrics, the OpenAPI document, and a greeting. */
export function registerServiceRoutes(app: Api, { engine, metrics }: Deps, version: string): void {
  const Status = Type.Object(
    { status: Type.Literal('ok') },
    { description: 'All is well.', examples: [{ status: 'ok' }] },
  );

  app.get('/', { schema: { hide: true } }, (request, reply) => {
    if (/\btext\/html\b/.test(request.headers.accept ?? '')) return reply.redirect('/docs');
    return reply.send({
      name: 'Docket',
      version,
      api: '/api/v1',
      reference: '/docs',
      openapi: '/openapi.json',
      errors: '/errors',
    });
  });

  app.get(
    '/healthz',
    { schema: { tags: ['service'], summary: 'Whether the process lives', response: { 200: Status } } },
    async () => ({ status: 'ok' as const }),
  );

  app.get(
    '/readyz',
    {
      config: { problems: ['database_unavailable'] },
      schema: { tags: ['service'], summary: 'Whether requests can be served', response: { 200: Status } },
    },
    async () => {
      await engine.ping();
      return { status: 'ok' as const };
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        tags: ['service'],
        summary: 'Metrics for Prometheus',
        response: {
          200: {
            description: 'The metrics in the text format of Prometheus.',
            content: {
              'text/plain': {
                schema: Type.String({ examples: ['docket_items_total{collection="cases",status="succeeded"} 42'] }),
              },
            },
          },
        },
      },
    },
    async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );

  app.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => reply.send(describeApi(app)));
}

const limitDescriptions: Record<keyof Limits, string> = {
  syncAutoItems: 'Items up to which a batch is answered synchronously when it does not ask for a mode.',
  syncMaxItems: 'Items up to which a batch may be synchronous or atomic, and results stand in the answer.',
  bodyItems: 'Items in one JSON body.',
  streamItems: 'Items in one streamed body (NDJSON or CSV).',
  streamLineBytes: 'Bytes of one line or record of a streamed body; a longer one makes the whole of it unreadable.',
  itemBytes: 'Bytes of one item as JSON.',
  bodyBytes: 'Bytes of one body.',
  idLength: 'Characters of an id.',
  textLength: 'Characters of a ref, a label or an idempotency key.',
  queuedItemsPerTenant: 'Items of your jobs that wait to be applied, those of uploads included.',
  queuedJobsPerTenant: 'Jobs of yours that have not ended.',
  queuedItems: 'Items of all tenants that wait to be applied.',
  uploads: 'Streamed bodies that one process takes at the same time.',
};

const LimitsSchema = Type.Object(
  Object.fromEntries(
    Object.entries(limitDescriptions).map(([name, description]) => [name, Type.Integer({ description })]),
  ) as Record<keyof Limits, ReturnType<typeof Type.Integer>>,
  { description: 'The limits in force.', examples: [defaultLimits] },
);

/** GET /limits: every bound that an error may name. */
export function registerLimitsRoute(app: Api, { engine }: Deps): void {
  app.get(
    '/limits',
    { schema: { tags: ['service'], summary: 'The limits in force', response: { 200: LimitsSchema } } },
    async () => engine.limits,
  );
}
