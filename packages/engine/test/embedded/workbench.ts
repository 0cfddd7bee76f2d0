import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from '@docket/engine/embedded';
import pg from 'pg';
import { isAlive } from '../../src/embedded/processes.ts';

interface ChildReport {
  url?: string;
  takenOver?: boolean;
  error?: { name: string; message: string };
}

export interface Child {
  process: ChildProcess;
  report: Promise<ChildReport>;
}

/** Directories, servers and processes of one test; `clear` ends all of them, whatever the test did. */
export class Workbench {
  readonly #directories: string[] = [];
  readonly #servers: EmbeddedPostgres[] = [];
  readonly #children: ChildProcess[] = [];

  async makeDirectory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'docket-embedded-'));
    this.#directories.push(path);
    return path;
  }

  async makeDataDir(): Promise<string> {
    return join(await this.makeDirectory(), 'data');
  }

  async start(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
    const server = await startEmbeddedPostgres({ dataDir, ...options });
    this.#servers.push(server);
    return server;
  }

  startInChild(dataDir: string): Child {
    const program = fileURLToPath(new URL('start-in-child.ts', import.meta.url));
    const child = spawn(process.execPath, ['--conditions=docket-source', program, dataDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.push(child);
    const report = once(createInterface(child.stdout), 'line').then(
      ([line]) => JSON.parse(String(line)) as ChildReport,
    );
    return { process: child, report };
  }

  async clear(): Promise<void> {
    for (const child of this.#children) await killHard(child);
    for (const server of this.#servers) await server.stop();
    for (const directory of this.#directories) {
      for (const dataDir of [directory, join(directory, 'data')]) {
        const pid = await readPostmasterPid(dataDir).catch(() => undefined);
        if (pid !== undefined && isAlive(pid)) {
          process.kill(pid, 'SIGQUIT');
          await waitUntil(() => !isAlive(pid));
        }
      }
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

export async function killHard(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

export async function query<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function readPostmasterPid(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);
}

/** Resolves when the condition holds; a condition that throws does not hold yet. The test's timeout ends the wait. */
export async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (;;) {
    try {
      if (await condition()) return;
    } catch {}
    await sleep(10);
  }
}
