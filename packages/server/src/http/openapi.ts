import fastifySwagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import type { RouteOptions } from 'fastify';
import type { Api } from './api.ts';
import { type ProblemCode, problemCodes, problemKinds } from './problems.ts';

type Json = Record<string, unknown>;

const description = `Case management with bulk updates that can be trusted.

* **Done means visible.** Once an answer or a job says that an item was applied, every read that starts afterwards sees it.
* **Each item has its own fate**, told in request order with a stable code, and is applied exactly once.
* **Nothing is silent.** Unknown fields, options and parameters are refused by name; every limit is at \`GET /api/v1/limits\`.
* **Big is as easy as small.** A small batch is answered with its results, a large one with a job to follow.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document; all codes are at [/errors](/errors).`;

const tags = [
  { name: 'cases', description: 'Records with a status and a lifecycle.' },
  { name: 'orders', description: 'A second collection, with the same operations.' },
  { name: 'bulk', description: 'Many records in one request, each with its own fate.' },
  { name: 'jobs', description: 'Batches that run, or ran, and the results of their items.' },
  { name: 'bulk jobs', description: 'The plain job resource: submit, then ask.' },
  { name: 'case types', description: 'Lifecycles: the statuses of a kind of case and the moves between them.' },
  { name: 'webhooks', description: 'Being told what happens: endpoints, secrets, deliveries.' },
  { name: 'service', description: 'Limits, usage, health and metrics.' },
];

/** Makes the OpenAPI 3.1 document of all routes that are registered after it; read it with `describeApi`. */
export async function documentRoutes(app: Api, version: string): Promise<void> {
  const options: FastifyDynamicSwaggerOptions = {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Docket',
        version,
        description,
        license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      },
      servers: [{ url: '/', description: 'This server' }],
      tags,
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'Authorization: Bearer <api key>' },
          apiKey: {
            type: 'apiKey',
            in: 'header',
            name: 'X-API-Key',
            description: 'The same key in a header of its own',
          },
        },
      },
    },
    stripBasePath: false,
    convertConstToEnum: false,
    transform: ({ schema, url, route }) => ({ schema: prepareOperation(schema as Json, url, route) as never, url }),
    transformObject: (document) => finishDocument(document as unknown as { openapiObject: OpenApi }) as never,
  };
  await app.register(fastifySwagger, options);
}

/** The OpenAPI document; to be called when the server is ready. */
export function describeApi(app: Api): object {
  return app.swagger();
}

function needsKey(url: string): boolean {
  return url.startsWith('/api/v1') || url.startsWith('/bulk-jobs');
}

/** Fills what every operation has; what is the route's own stays. */
function prepareOperation(schema: Json | undefined, url: string, route: RouteOptions): Json {
  const codes = new Set<ProblemCode>(route.config?.problems);
  const [method = 'GET'] = [route.method].flat();
  codes.add('unknown_option');
  codes.add('internal');
  if (schema?.querystring || schema?.params) codes.add('invalid_parameter');
  if (needsKey(url)) {
    for (const code of ['unauthenticated', 'database_unavailable', 'overloaded'] as const) codes.add(code);
  }
  if (method !== 'GET' && method !== 'DELETE') {
    for (const code of ['malformed_body', 'unsupported_media_type', 'batch_too_large'] as const) codes.add(code);
  }
  return {
    ...(needsKey(url) ? { security: [{ bearer: [] }, { apiKey: [] }] } : { security: [] }),
    ...schema,
    'x-problems': [...codes],
  };
}

/** `get /api/v1/cases/{caseId}/history` is `getCasesByCaseIdHistory`. */
function operationIdOf(method: string, path: string): string {
  const place = path.startsWith('/bulk-jobs') ? `/root${path}` : path.replace(/^\/api\/v1/, '');
  const words = place.replace(/\{(\w+)\}/g, 'by-$1').split(/[^A-Za-z0-9]+/);
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Json>;
}

interface Operation {
  operationId?: string;
  responses: Record<string, Json>;
  'x-problems'?: ProblemCode[];
}

function finishDocument({ openapiObject }: { openapiObject: OpenApi }): OpenApi {
  const shared: Record<string, Json> = {};
  for (const [path, operations] of Object.entries(openapiObject.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      operations[method] = finishOperation(operation, operationIdOf(method, path), shared);
    }
  }
  openapiObject.components.schemas = { ...openapiObject.components.schemas, Problem: problemSchema };
  openapiObject.components.responses = { ...openapiObject.components.responses, ...shared };
  openapiObject.components.headers = { ...openapiObject.components.headers, RequestId: requestId };
  return openapiObject;
}

// why a copy: a route with several methods gives each of them the same object
function finishOperation(
  { 'x-problems': problems = [], ...operation }: Operation,
  operationId: string,
  shared: Record<string, Json>,
): Operation {
  const responses: Record<string, Json> = {};
  for (const [status, response] of Object.entries(operation.responses)) {
    responses[status] = { ...response, headers: { ...requestIdHeader, ...(response.headers as Json) } };
  }
  for (const [status, codes] of Map.groupBy(problems, (code) => problemKinds[code].status)) {
    const problem = problemResponse(codes);
    const own = responses[status];
    if (own) {
      // why: a status that the route describes itself (the results of a failed atomic batch) has two bodies
      responses[status] = { ...own, content: { ...(own.content as Json), ...problem.content } };
      continue;
    }
    const name = codes.join('-or-');
    shared[name] = { ...problem, headers: requestIdHeader };
    responses[status] = { $ref: `#/components/responses/${name}` };
  }
  return { ...operation, operationId, responses };
}

const requestIdHeader = { 'X-Request-Id': { $ref: '#/components/headers/RequestId' } };
const requestId = {
  description: 'The id of the request: the one you sent, or a new one. It is in the log of the server.',
  schema: { type: 'string', maxLength: 128 },
  example: '0199c1d2-7c1e-7b6a-9f65-2f6f0c1f3a10',
};

function problemResponse(codes: readonly ProblemCode[]): { description: string; content: Json } {
  const examples = codes.map((code) => {
    const { status, title, description } = problemKinds[code];
    const value = {
      type: `http://127.0.0.1:3000/errors/${code}`,
      title,
      status,
      detail: description,
      code,
      requestId: requestId.example,
    };
    return [code, { summary: title, value }];
  });
  return {
    description: codes.map((code) => `\`${code}\`: ${problemKinds[code].title}.`).join(' '),
    content: {
      'application/problem+json': {
        schema: { $ref: '#/components/schemas/Problem' },
        examples: Object.fromEntries(examples),
      },
    },
  };
}

const problemSchema = {
  type: 'object',
  description: 'A problem document (RFC 9457). Branch on `code`.',
  required: ['type', 'title', 'status', 'detail', 'code'],
  properties: {
    type: { type: 'string', format: 'uri', description: 'The page that explains the code.' },
    title: { type: 'string', description: 'The same for each problem of this code.' },
    status: { type: 'integer', description: 'The HTTP status.' },
    detail: { type: 'string', description: 'What is wrong here, and what to do about it.' },
    code: { type: 'string', enum: problemCodes, description: 'Stable; never used for something else.' },
    instance: { type: 'string', description: 'The path of the request.' },
    requestId: { type: 'string', description: 'As in the header X-Request-Id.' },
    limit: { type: 'number', description: 'The bound that was passed.' },
    actual: { type: 'number', description: 'What the request had instead.' },
    errors: {
      type: 'array',
      description: 'The places that are wrong.',
      items: {
        type: 'object',
        required: ['pointer', 'message'],
        properties: {
          pointer: {
            type: 'string',
            description: 'JSON pointer (RFC 6901) into the body; for parameters, "/" and the name.',
          },
          message: { type: 'string' },
        },
      },
    },
  },
};
