import { type ChildProcess, spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import pg from 'pg';

/** Who sends requests: a tenant's key at a server. */
export interface Caller {
  url: string;
  headers: Record<string, string>;
}

/** A server in a process of its own over a database of its own. */
export interface Environment extends Caller {
  databaseUrl: string;
  serverPid: number;
  helloUrl: string;
  /** Cases of the first tenant. */
  cases: number;
  /** Ids of so many cases in a row, from any place. */
  ids(from: number, count: number): string[];
  /** A tenant of its own with so many cases, whose ids are the first ones of `ids`. */
  addTenant(name: string, cases: number): Promise<Caller>;
  close(): Promise<void>;
}

export async function openEnvironment(cases: number): Promise<Environment> {
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
    const client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    stops.push(() => client.end());
    await addCases(client, 'default', cases);
    const hello = await startProcess('hello-world.ts', {}, ['--conditions=docket-source']);
    stops.push(hello.stop);
    const callerOf = (tenant: string): Caller => ({
      url: server.url,
      headers: { authorization: `Bearer ${keyOf(tenant)}` },
    });
    return {
      ...callerOf('default'),
      databaseUrl: postgres.url,
      serverPid: server.pid,
      helloUrl: hello.url,
      cases,
      ids: (from, count) => Array.from({ length: count }, (_, index) => caseId((from + index) % cases)),
      addTenant: async (name, count) => {
        await addKey(client, name);
        await addCases(client, name, count);
        return callerOf(name);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function keyOf(tenant: string): string {
  return `bench-key-of-${tenant}`;
}

export function caseId(number: number): string {
  return `CASE-${String(number).padStart(7, '0')}`;
}

async function addKey(client: pg.Client, tenant: string): Promise<void> {
  await client.query('insert into docket.tenants (tenant_id) values ($1)', [tenant]);
  await client.query(
    `insert into docket.api_keys (tenant_id, key_id, name, key_hash, hint)
     values ($1, gen_random_uuid(), 'bench', decode($2, 'hex'), 'hint')`,
    [tenant, hash('sha256', keyOf(tenant), 'hex')],
  );
}

/** Writes cases straight into the table, from the first id on. */
export async function addCases(client: pg.Client, tenant: string, count: number): Promise<void> {
  await client.query(
    `insert into docket.cases (tenant_id, case_id, case_type, title, status)
     select $1, 'CASE-' || lpad(n::text, 7, '0'), 'general', 'Case number ' || n, 'In Progress'
     from generate_series(0, $2::int - 1) n`,
    [tenant, count],
  );
  await client.query('vacuum analyze docket.cases');
}

/** A server process over a database, with the first tenant's key. */
export async function startServer(databaseUrl: string) {
  const environment = {
    DATABASE_URL: databaseUrl,
    DOCKET_ADMIN_KEY: keyOf('default'),
    DOCKET_SEED: 'none',
    DOCKET_WEBHOOKS_ALLOW_PRIVATE: 'true',
    LOG_LEVEL: 'warn',
    PORT: '0',
  };
  // to look closer: SERVER_FLAGS=--cpu-prof
  const flags = process.env.SERVER_FLAGS?.split(' ') ?? [];
  // why the built one: what strips the types of TypeScript takes 35 MiB in each thread
  const server = await startProcess('../packages/server/dist/main.js', environment, flags);
  return { ...server, headers: { authorization: `Bearer ${keyOf('default')}` } };
}

async function startProcess(file: string, environment: Record<string, string>, flags: readonly string[] = []) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [...flags, path], {
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
  return { url, stop, pid: child.pid as number };
}
