import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import pg from 'pg';

const key = 'bench-key-0123456789abcdef';
const cases = 200_000;

/** A server in a process of its own over a database of its own, with 200,000 cases. */
export interface Environment {
  url: string;
  databaseUrl: string;
  headers: Record<string, string>;
  /** Ids of so many cases in a row, from any place. */
  ids(from: number, count: number): string[];
  helloUrl: string;
  close(): Promise<void>;
}

export async function openEnvironment(): Promise<Environment> {
  const dataDir = await mkdtemp(join(tmpdir(), 'docket-bench-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(dataDir, { recursive: true, force: true })];
  const close = async () => {
    for (const stop of stops.splice(0).toReversed()) await stop();
  };
  try {
    const postgres = await startEmbeddedPostgres({ dataDir });
    stops.push(() => postgres.stop());
    const server = await startServer(postgres.url);
    stops.push(server.stop);
    await loadCases(postgres.url, cases);
    const hello = await startProcess('hello-world.ts', {});
    stops.push(hello.stop);
    return {
      url: server.url,
      databaseUrl: postgres.url,
      headers: server.headers,
      ids: (from, count) => Array.from({ length: count }, (_, index) => caseId((from + index) % cases)),
      helloUrl: hello.url,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export function caseId(number: number): string {
  return `CASE-${String(number).padStart(6, '0')}`;
}

/** Writes cases straight into the table, from CASE-000000 on. */
export async function loadCases(databaseUrl: string, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(
    `insert into docket.cases (tenant_id, case_id, case_type, title, status)
     select 'default', 'CASE-' || lpad(n::text, 6, '0'), 'general', 'Case number ' || n, 'In Progress'
     from generate_series(0, $1::int - 1) n`,
    [count],
  );
  await client.query('vacuum analyze docket.cases');
  await client.end();
}

/** A server process over a database, and the headers that it takes. */
export async function startServer(databaseUrl: string) {
  const environment = {
    DATABASE_URL: databaseUrl,
    DOCKET_ADMIN_KEY: key,
    DOCKET_SEED: 'none',
    LOG_LEVEL: 'warn',
    PORT: '0',
  };
  // as `npm start` does
  const server = await startProcess('../packages/server/src/main.ts', environment, ['--max-semi-space-size=8']);
  return { ...server, headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' } };
}

async function startProcess(file: string, environment: Record<string, string>, flags: readonly string[] = []) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [...flags, '--conditions=docket-source', path], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let output = '';
    child.stdout?.on('data', (data: Buffer) => {
      output += data.toString();
      const found = /ready at (http:\S+)/.exec(output)?.[1];
      if (found) resolve(found);
    });
    child.once('exit', (code) => reject(new Error(`${file} ended with ${code}: ${output}`)));
  });
  const stop = async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  };
  return { url, pid: child.pid as number, stop };
}
