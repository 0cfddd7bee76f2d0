import type { AddressInfo } from 'node:net';
import { createEngine, type Engine, type EngineOptions } from '@docket/engine';
import { createDatabase } from '../../../test/database.ts';
import { ApiKeys, createApiKey, ensureFirstKey } from '../src/api-keys.ts';
import { buildApp } from '../src/app.ts';
import { collections } from '../src/collections/index.ts';
import { recordEvents } from '../src/webhooks/outbox.ts';
import { SealedSecrets } from '../src/webhooks/sealed-secrets.ts';
import { defaultPolicy, type TargetPolicy } from '../src/webhooks/targets.ts';
import { type Call, callerOf } from './call.ts';

const silent = { info: () => {}, warn: () => {}, error: () => {} };
const migrations = { name: 'docket', directory: new URL('../migrations', import.meta.url).pathname };

export interface Served {
  base: string;
  /** The value of an Authorization header that is in force. */
  authorization: string;
  databaseUrl: string;
  engine: Engine;
  call: Call;
  /** A key of another tenant, made on the spot. */
  keyOf(tenantId: string): Promise<string>;
  stop(): Promise<void>;
}

export interface ServeOptions extends Partial<EngineOptions> {
  /** Jobs stay pending. */
  withoutWorkers?: boolean;
  corsOrigins?: readonly string[];
  webhookTargets?: TargetPolicy;
  webhookSecrets?: SealedSecrets;
}

/** The whole server over HTTP on a database of its own. */
export async function serve({
  withoutWorkers,
  corsOrigins = [],
  webhookTargets = defaultPolicy,
  webhookSecrets = new SealedSecrets(),
  ...options
}: ServeOptions = {}): Promise<Served> {
  const database = await createDatabase();
  const engine = createEngine({
    databaseUrl: database.url,
    collections,
    logger: silent,
    recordEffect: recordEvents,
    ...options,
  });
  await engine.migrate([migrations]);
  await engine.checkTables();
  if (!withoutWorkers) await engine.startWorkers();
  const key = (await ensureFirstKey(engine.pool, 'default', undefined)) as string;
  const app = await buildApp({ engine, keys: new ApiKeys(engine.pool), corsOrigins, webhookTargets, webhookSecrets });
  await app.listen({ port: 0 });
  const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  let stopped: Promise<void> | undefined;
  return {
    base,
    authorization: `Bearer ${key}`,
    databaseUrl: database.url,
    engine,
    call: callerOf(base, key),
    keyOf: async (tenantId) => (await createApiKey(engine.pool, { tenantId, name: 'test' })).key,
    stop() {
      stopped ??= (async () => {
        await app.close();
        await engine.stop();
        await database.drop();
      })();
      return stopped;
    },
  };
}

/** Creates cases with these ids and status, all else being the same. */
export async function createCases(
  { call }: { call: Call },
  ids: readonly string[],
  status = 'In Progress',
): Promise<void> {
  const items = ids.map((caseId) => ({ caseId, title: `Case ${caseId}`, status }));
  const { body } = await call('POST', '/api/v1/cases/bulk-create', { items, options: { waitForCompletion: true } });
  if (body.summary?.succeeded !== ids.length) throw new Error(`The cases were not created: ${JSON.stringify(body)}`);
}
