import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from './database.ts';

/* The example of docs/embedding.md is run as it stands, against the table that it speaks of. */

const run = promisify(execFile);
const example = fileURLToPath(new URL(`embedding-example-${process.pid}.ts`, import.meta.url));
let database: Awaited<ReturnType<typeof createDatabase>>;

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  await rm(example, { force: true });
  await database?.drop();
});

test('the engine works over a table of your own as the guide says', async () => {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query(`
    create table monitors (
      account text not null, id text not null, url text not null, state text not null, every_seconds integer not null,
      note text, version integer not null default 1, updated_at timestamptz not null default now(), primary key (account, id)
    );
    insert into monitors (account, id, url, state, every_seconds) values ('acme', 'm1', 'https://example.com', 'up', 60)`);
  const guide = await readFile(new URL('../docs/embedding.md', import.meta.url), 'utf8');
  const blocks = [...guide.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  await writeFile(
    example,
    `${blocks.join('\n')}
    console.log(JSON.stringify(outcome.results));
    await engine.stop();`.replace(
      /^(?=const monitors)/m,
      'const databaseUrl = process.env.DATABASE_URL as string;\nconst logger = { info() {}, warn: console.error, error: console.error };\n',
    ),
  );
  const { stdout } = await run(process.execPath, ['--conditions=docket-source', example], {
    env: { ...process.env, DATABASE_URL: database.url },
  });
  expect(JSON.parse(stdout)).toMatchObject([{ id: 'm1', status: 'succeeded', changed: true, version: 2 }]);
  const { rows } = await client.query('select state, version from monitors');
  await client.end();
  expect(rows).toEqual([{ state: 'paused', version: 2 }]);
});
