/**
 * Writes what is generated from the code: the schema dumps and openapi.json. With --check, writes nothing and fails when a
 * committed file is not what the code says.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createEngine } from '@docket/engine';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import { ApiKeys, buildApp, collections, describeApi } from 'docket';
import pg from 'pg';
import { dumpSchema } from './dump-schema.ts';

const root = new URL('../', import.meta.url);
const check = process.argv.includes('--check');
const logger = { info() {}, warn: console.warn, error: console.error };

async function generate(databaseUrl: string): Promise<Map<string, string>> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const engine = createEngine({ databaseUrl, collections, logger });
  try {
    await engine.migrate();
    const own = await dumpSchema(client);
    await engine.migrate([{ name: 'docket', directory: fileURLToPath(new URL('packages/server/migrations', root)) }]);
    const served = await dumpSchema(client, own.tables);
    const app = await buildApp({ engine, keys: new ApiKeys(engine.pool) });
    await app.ready();
    const openApi = describeApi(app);
    await app.close();
    return new Map([
      ['packages/engine/schema.sql', own.text],
      ['packages/server/schema.sql', served.text],
      ['packages/server/openapi.json', `${JSON.stringify(openApi, null, 2)}\n`],
    ]);
  } finally {
    await engine.stop();
    await client.end();
  }
}

const dataDir = await mkdtemp(join(tmpdir(), 'docket-generate-'));
const postgres = await startEmbeddedPostgres({ dataDir });
try {
  for (const [path, text] of await generate(postgres.url)) {
    const file = new URL(path, root);
    if (!check) {
      await writeFile(file, text);
      continue;
    }
    const committed = await readFile(file, 'utf8').catch(() => undefined);
    if (committed === text) continue;
    process.stderr.write(
      `${path} is not what the code generates. Run \`npm run generate\` and look at the difference.\n`,
    );
    process.exitCode = 1;
  }
} finally {
  await postgres.stop();
  await rm(dataDir, { recursive: true, force: true });
}
