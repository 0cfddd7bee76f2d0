import type { AddressInfo } from 'node:net';
import { createEngine, type Engine } from '@docket/engine';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { Wire } from '../../../test/wire.ts';
import { ApiKeys, ensureFirstKey } from '../src/api-keys.ts';
import { buildApp } from '../src/app.ts';
import { collections } from '../src/collections/index.ts';
import type { Api } from '../src/http/api.ts';

const silent = { info: () => {}, warn: () => {}, error: () => {} };
const migrations = { name: 'docket', directory: new URL('../migrations', import.meta.url).pathname };

let database: Awaited<ReturnType<typeof createDatabase>>;
let wire: Wire;
let engine: Engine;
let app: Api;
let base: string;
let headers: Record<string, string>;

beforeAll(async () => {
  database = await createDatabase();
  wire = new Wire(database.url);
  await wire.connect();
  engine = createEngine({ databaseUrl: wire.url, collections, logger: silent });
  await engine.migrate([migrations]);
  await engine.checkTables();
  await engine.startWorkers();
  const key = await ensureFirstKey(engine.pool, 'default', undefined);
  headers = { authorization: `Bearer ${key}` };
  app = await buildApp({ engine, keys: new ApiKeys(engine.pool) });
  await app.listen({ port: 0 });
  base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await app?.close();
  await engine?.stop();
  await wire?.cut();
  await database?.drop();
});

it('answers 503 while the database is away, and serves again when it is back', async () => {
  const paths = ['/readyz', '/api/v1/cases', '/api/v1/cases/CASE-1'];
  expect((await fetch(`${base}/api/v1/cases`, { headers })).status).toBe(200);
  for (let round = 0; round < 2; round++) {
    await wire.cut();
    for (const path of paths) {
      const response = await fetch(base + path, { headers });
      expect([path, response.status]).toEqual([path, 503]);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(((await response.json()) as { code: string }).code).toBe('database_unavailable');
    }
    const unknownKey = await fetch(`${base}/api/v1/cases`, { headers: { authorization: `Bearer dk_new_${round}` } });
    expect(unknownKey.status).toBe(503);
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
    await wire.connect();
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    expect((await fetch(`${base}/api/v1/cases`, { headers })).status).toBe(200);
  }
});
