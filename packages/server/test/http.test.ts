import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { createEngine, type Engine, sql } from '@docket/engine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { ApiKeys, createApiKey, ensureFirstKey, revokeApiKey } from '../src/api-keys.ts';
import { buildApp } from '../src/app.ts';
import { collections } from '../src/collections/index.ts';
import type { Api } from '../src/http/api.ts';
import { describeApi } from '../src/http/openapi.ts';
import { problemCodes, problemKinds } from '../src/http/problems.ts';

const silent = { info: () => {}, warn: () => {}, error: () => {} };
const migrations = { name: 'docket', directory: new URL('../migrations', import.meta.url).pathname };

let database: { url: string; drop(): Promise<void> };
let engine: Engine;
let app: Api;
let base: string;
let key: string;

beforeAll(async () => {
  database = await createDatabase();
  engine = createEngine({ databaseUrl: database.url, collections, logger: silent, limits: { bodyBytes: 200_000 } });
  await engine.migrate([migrations]);
  await engine.checkTables();
  key = (await ensureFirstKey(engine.pool, 'default', undefined)) as string;
  app = await buildApp({ engine, keys: new ApiKeys(engine.pool) });
  await app.listen({ port: 0 });
  base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await app?.close();
  await engine?.stop();
  await database?.drop();
});

interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  requestId: string;
  limit?: number;
  errors?: { pointer: string; message: string }[];
}

interface Call {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Null: none. */
  key?: string | null;
}

const call = (path: string, { method = 'GET', headers = {}, body, key: with_ = key }: Call = {}) =>
  fetch(base + path, {
    method,
    redirect: 'manual',
    headers: { ...(with_ === null ? {} : { authorization: `Bearer ${with_}` }), ...headers },
    ...(body === undefined ? {} : { body }),
  });

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  const problem = (await response.json()) as Problem;
  expect(problem.status).toBe(response.status);
  expect(problem.type).toBe(`${base}/errors/${problem.code}`);
  expect(problem.requestId).toBe(response.headers.get('x-request-id'));
  expect(problem.title.length * problem.detail.length).toBeGreaterThan(0);
  return problem;
}

const json = { 'content-type': 'application/json' };
const post = (path: string, body: string, headers: Record<string, string> = json) =>
  call(path, { method: 'POST', headers, body });

describe('errors', () => {
  it.each<[string, string, Call, number, string]>([
    ['no key', '/api/v1/cases', { key: null }, 401, 'unauthenticated'],
    ['an unknown key', '/api/v1/cases', { key: 'dk_unknown' }, 401, 'unauthenticated'],
    ['no key on an unknown path', '/api/v1/nothing', { key: null }, 401, 'unauthenticated'],
    ['no key on a bulk job', '/bulk-jobs/1', { key: null }, 401, 'unauthenticated'],
    ['no key beyond a bulk job', '/bulk-jobs/1/2/3', { key: null }, 401, 'unauthenticated'],
    ['an unknown path', '/api/v1/nothing', {}, 404, 'route_not_found'],
    ['an unknown path outside of the API', '/nothing', { key: null }, 404, 'route_not_found'],
    ['a wrong method', '/api/v1/cases', { method: 'DELETE' }, 405, 'method_not_allowed'],
    ['a wrong method that a wider path has', '/api/v1/cases/bulk-update', {}, 405, 'method_not_allowed'],
    ['an unknown parameter', '/api/v1/cases?colour=red', {}, 400, 'unknown_option'],
    ['an unknown parameter where there are none', '/api/v1/limits?colour=red', {}, 400, 'unknown_option'],
    ['a wrong parameter', '/api/v1/cases?limit=many', {}, 400, 'invalid_parameter'],
    ['a broken escape', '/api/v1/cases/%zz', {}, 400, 'invalid_parameter'],
    ['an id of 10 kB', `/api/v1/cases/${'x'.repeat(10_000)}`, {}, 404, 'not_found'],
  ])('%s', async (_what, path, options, status, code) => {
    const response = await call(path, options);
    expect([response.status, (await problemOf(response)).code]).toEqual([status, code]);
  });

  it.each<[string, string, Record<string, string>, number, string]>([
    ['broken JSON', '{"caseId":', json, 400, 'malformed_body'],
    ['an empty body', '', json, 400, 'malformed_body'],
    ['a member twice', '{"title":"a","title":"b"}', json, 400, 'malformed_body'],
    ['a __proto__ member', '{"title":"a","data":{"__proto__":{}}}', json, 400, 'malformed_body'],
    ['a NUL', '{"title":"a\\u0000"}', json, 400, 'malformed_body'],
    ['a lone surrogate', '{"title":"\\ud800"}', json, 400, 'malformed_body'],
    [
      'another media type',
      'title=a',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'unsupported_media_type',
    ],
    ['CSV', 'caseId\n1', { 'content-type': 'text/csv' }, 415, 'unsupported_media_type'],
    ['compression', '{}', { ...json, 'content-encoding': 'gzip' }, 415, 'unsupported_media_type'],
    ['a body beyond the limit', `{"title":"${'x'.repeat(200_000)}"}`, json, 413, 'batch_too_large'],
  ])('a body with %s', async (_what, body, headers, status, code) => {
    const response = await post('/api/v1/cases', body, headers);
    expect([response.status, (await problemOf(response)).code]).toEqual([status, code]);
  });

  it('name the limit, the methods and the known parameters', async () => {
    const large = await post('/api/v1/cases', `{"title":"${'x'.repeat(200_000)}"}`);
    expect((await problemOf(large)).limit).toBe(200_000);
    const wrong = await call('/api/v1/cases', { method: 'PUT' });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS, POST');
    const unknown = await problemOf(await call('/api/v1/cases?statuss=New'));
    expect(unknown.detail).toContain('"statuss"');
    expect(unknown.detail).toContain('status');
    expect(unknown.errors?.[0]?.pointer).toBe('/statuss');
  });

  it('of the HTTP parser are problem documents too', async () => {
    const socket = connect(Number(new URL(base).port), '127.0.0.1');
    socket.end('NONSENSE\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('application/problem+json');
    expect((await call(`/?${'x'.repeat(20_000)}`)).status).toBe(431);
  });

  it('leave the server alive', async () => {
    expect((await call('/healthz', { key: null })).status).toBe(200);
  });

  it('have a page for each code, with what to do', async () => {
    const index = await (await call('/errors', { key: null })).text();
    for (const code of problemCodes) {
      const response = await call(`/errors/${code}`, { key: null });
      expect(response.status).toBe(200);
      expect(await response.text()).toContain(`<code>${code}</code> · ${problemKinds[code].status}`);
      expect(index).toContain(`href="/errors/${code}"`);
    }
    expect(index.match(/href="\/errors\//g)).toHaveLength(problemCodes.length);
  });
});

describe('keys', () => {
  it('are accepted in both headers', async () => {
    expect((await call('/api/v1/limits')).status).toBe(200);
    expect((await call('/api/v1/limits', { key: null, headers: { 'x-api-key': key } })).status).toBe(200);
    expect((await call('/api/v1/limits', { key: null, headers: { authorization: `bearer ${key}` } })).status).toBe(200);
  });

  it('are stored as a hash only', async () => {
    const { rows } = await engine.pool.query<{ row: string }>(sql`select k::text as row from docket.api_keys k`);
    expect(rows.length).toBeGreaterThan(0);
    for (const { row } of rows) expect(row).not.toContain(key.slice(0, -4));
  });

  it('end with their time, and when they are revoked', async () => {
    const { pool } = engine;
    const expired = await createApiKey(pool, {
      tenantId: 'default',
      name: 'old',
      expiresAt: new Date(Date.now() - 1_000),
    });
    expect((await call('/api/v1/limits', { key: expired.key })).status).toBe(401);
    const revoked = await createApiKey(pool, { tenantId: 'default', name: 'revoked' });
    expect(await revokeApiKey(pool, { tenantId: 'default', keyId: revoked.keyId })).toBe(true);
    expect(await revokeApiKey(pool, { tenantId: 'default', keyId: revoked.keyId })).toBe(false);
    expect((await call('/api/v1/limits', { key: revoked.key })).status).toBe(401);
    const soon = await createApiKey(pool, { tenantId: 'default', name: 'soon', expiresAt: new Date(Date.now() + 700) });
    expect((await call('/api/v1/limits', { key: soon.key })).status).toBe(200);
    await expect
      .poll(async () => (await call('/api/v1/limits', { key: soon.key })).status, { timeout: 3_000, interval: 50 })
      .toBe(401);
  });

  it('are made up once, also when many processes start together', async () => {
    const made = await Promise.all(Array.from({ length: 8 }, () => ensureFirstKey(engine.pool, 'crowd', undefined)));
    expect(made.filter((one) => one !== undefined)).toHaveLength(1);
    expect(await ensureFirstKey(engine.pool, 'crowd', 'a-key-of-the-operator')).toBeUndefined();
    expect(await ensureFirstKey(engine.pool, 'crowd', 'a-key-of-the-operator')).toBeUndefined();
    expect((await call('/api/v1/limits', { key: 'a-key-of-the-operator' })).status).toBe(200);
  });
});

describe('each answer', () => {
  it('carries the id of its request: the given one, or a new one', async () => {
    const given = await call('/healthz', { key: null, headers: { 'x-request-id': 'order-17' } });
    expect(given.headers.get('x-request-id')).toBe('order-17');
    for (const bad of ['has space', 'x'.repeat(129)]) {
      const fresh = await call('/healthz', { key: null, headers: { 'x-request-id': bad } });
      expect(fresh.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{24}_[0-9a-z]+$/);
    }
    const ids = await Promise.all(
      Array.from({ length: 600 }, async () => (await call('/healthz', { key: null })).headers.get('x-request-id')),
    );
    expect(new Set(ids).size).toBe(600);
  });

  it('may be asked for by HEAD and OPTIONS', async () => {
    const head = await call('/api/v1/limits', { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    const options = await call('/api/v1/cases/bulk-update', { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'OPTIONS, PATCH, POST']);
  });
});

describe('the service', () => {
  it('tells its limits', async () => {
    expect(await (await call('/api/v1/limits')).json()).toEqual(engine.limits);
  });

  it('is ready while the database answers', async () => {
    expect(await (await call('/readyz', { key: null })).json()).toEqual({ status: 'ok' });
  });

  it('counts requests by route, not by path', async () => {
    await call('/api/v1/cases/none-such');
    const metrics = await (await call('/metrics', { key: null })).text();
    expect(metrics).toMatch(
      /http_request_duration_seconds_count\{method="GET",route="\/api\/v1\/cases\/:caseId",status="404"\} \d+/,
    );
    expect(metrics).not.toContain('none-such');
  });

  it('has a reference that loads nothing from elsewhere', async () => {
    const response = await call('/docs', { key: null });
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).not.toMatch(/https?:|\*/);
    const html = await response.text();
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]);
    expect(loaded).toEqual(['/docs/js/scalar.js']);
    const script = await call('/docs/js/scalar.js', { key: null });
    expect([script.status, script.headers.get('content-type')]).toEqual([200, 'application/javascript; charset=utf-8']);
    expect((await script.text()).length).toBeGreaterThan(1_000_000);
    const again = await call('/docs/js/scalar.js', {
      key: null,
      headers: { 'if-none-match': script.headers.get('etag') ?? '' },
    });
    expect(again.status).toBe(304);
  });
});

interface Operation {
  operationId: string;
  summary?: string;
  tags?: string[];
  responses: Record<string, object>;
}

describe('the OpenAPI document', () => {
  const operations = () => {
    const { paths } = describeApi(app) as { paths: Record<string, Record<string, Operation>> };
    return Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, operation })),
    );
  };

  it('is served, and is of version 3.1', async () => {
    expect(((await (await call('/openapi.json', { key: null })).json()) as { openapi: string }).openapi).toBe('3.1.0');
  });

  it('has exactly the codes of the table', () => {
    const { components } = describeApi(app) as {
      components: { schemas: { Problem: { properties: { code: { enum: string[] } } } } };
    };
    expect(components.schemas.Problem.properties.code.enum).toEqual(problemCodes);
  });

  it('says of each operation what it does, under an id of its own, and what errors it has', () => {
    const declared = (describeApi(app) as { tags: { name: string }[] }).tags.map(({ name }) => name);
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { name, operation } of operations()) {
      expect(operation.summary, name).toBeTruthy();
      expect(operation.tags?.length, name).toBeGreaterThan(0);
      for (const tag of operation.tags ?? []) expect(declared, name).toContain(tag);
      expect(operation.responses['500'], name).toEqual({ $ref: '#/components/responses/internal' });
      if (name.includes('/api/v1') || name.includes('/bulk-jobs'))
        expect(operation.responses, name).toHaveProperty('401');
      expect(
        Object.keys(operation.responses).some((status) => status.startsWith('2')),
        name,
      ).toBe(true);
    }
  });
});
