import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { isPostgres } from '../../engine/src/embedded/processes.ts';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { type Call, callerOf } from './call.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

/** The first key of servers whose test does not choose one. */
export const adminKey = 'the-key-of-the-operator';

export interface LaunchedProcess {
  child: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  /** Resolves to its exit code; null when a signal ended it. */
  exited: Promise<number | null>;
}

export interface ServerProcess extends LaunchedProcess {
  url: string;
  call: Call;
  /** Asks it to stop, and resolves to its exit code. */
  stop(): Promise<number | null>;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
}

/** The server processes of one test file, their directory, and the databases that they embed. */
export class ServerProcesses {
  readonly #children = new Map<ChildProcess, LaunchedProcess>();
  readonly #pools: pg.Pool[] = [];
  readonly #postmasters = new Set<number>();
  readonly #dataDirs = new Set<string>();
  #directory: Promise<string> | undefined;

  /** A directory of these tests' own, where the processes run. */
  directory(): Promise<string> {
    this.#directory ??= mkdtemp(join(tmpdir(), 'docket-processes-'));
    return this.#directory;
  }

  /** Starts a server without waiting for it. Its data directory is `data` unless `env` says otherwise. */
  async launch(env: Record<string, string> = {}): Promise<LaunchedProcess> {
    const cwd = await this.directory();
    const dataDir = env.DOCKET_DATA_DIR ?? 'data';
    this.#dataDirs.add(join(cwd, dataDir));
    const child = spawn(process.execPath, ['--conditions=docket-source', main], {
      cwd,
      env: {
        PATH: process.env.PATH ?? '',
        HOST: '127.0.0.1',
        PORT: '0',
        LOG_LEVEL: 'warn',
        DOCKET_DATA_DIR: dataDir,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part) => (text += part));
    const exited = once(child, 'exit').then(([code]) => code as number | null);
    const launched = { child, output: () => text, exited };
    this.#children.set(child, launched);
    return launched;
  }

  /** Starts a server and waits until it says that it is ready. */
  async start(env: Record<string, string> = {}): Promise<ServerProcess> {
    const { child, output, exited } = await this.launch(env);
    let url: string | undefined;
    await waitUntil(
      () => {
        url = /^docket ready at (\S+)/m.exec(output())?.[1];
        if (url === undefined && child.exitCode !== null) throw new Error(`The server did not start:\n${output()}`);
        return url !== undefined;
      },
      'the server is ready',
      30_000,
    );
    if (env.DATABASE_URL === undefined) await this.#notePostmaster(await this.#dataDirOf(env));
    const end = (signal: 'SIGTERM' | 'SIGKILL') => {
      child.kill(signal);
      return exited;
    };
    return {
      child,
      output,
      exited,
      url: url as unknown as string,
      call: callerOf(url as unknown as string, env.DOCKET_ADMIN_KEY ?? adminKey),
      stop: () => end('SIGTERM'),
      kill: async () => void (await end('SIGKILL')),
    };
  }

  async #dataDirOf(env: Record<string, string>): Promise<string> {
    return join(await this.directory(), env.DOCKET_DATA_DIR ?? 'data');
  }

  /** Statements past the server to the PostgreSQL that it embeds, also when the server is dead. */
  async embeddedSql(env: Record<string, string> = {}): Promise<pg.Pool> {
    const dataDir = await this.#dataDirOf(env);
    const port = (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[3];
    const password = (await readFile(join(dataDir, 'password'), 'utf8')).trim();
    return this.sql(`postgres://docket:${password}@127.0.0.1:${port}/docket`);
  }

  /** Statements to a database, by connections that end with the test. */
  sql(url: string): pg.Pool {
    const pool = new pg.Pool({ connectionString: url, max: 3 });
    pool.on('error', () => {});
    this.#pools.push(pool);
    return pool;
  }

  async #notePostmaster(dataDir: string): Promise<number | undefined> {
    const text = await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
    const pid = Number(text.split('\n')[0]);
    if (!pid) return undefined;
    this.#postmasters.add(pid);
    return pid;
  }

  /**
   * Asks what still runs to stop. Fails when a server did not end well, or when a process was left behind; whatever happens,
   * afterwards no process and no file is there.
   */
  async clear(): Promise<void> {
    const complaints: string[] = [];
    await Promise.all(this.#pools.splice(0).map((pool) => pool.end().catch(() => undefined)));
    await Promise.all([...this.#children.values()].map((launched) => endInTime(launched, complaints)));
    this.#children.clear();
    for (const dataDir of this.#dataDirs) await this.#notePostmaster(dataDir);
    for (const pid of this.#postmasters) {
      if (!isPostgres(pid)) continue;
      complaints.push(`PostgreSQL (process ${pid}) was left behind.`);
      process.kill(pid, 'SIGQUIT');
      await waitUntil(() => !isPostgres(pid), `process ${pid} has ended`);
    }
    this.#postmasters.clear();
    this.#dataDirs.clear();
    if (this.#directory !== undefined) await rm(await this.#directory, { recursive: true, force: true, maxRetries: 5 });
    this.#directory = undefined;
    if (complaints.length > 0) throw new Error(complaints.join('\n'));
  }
}

const endMs = 20_000;

async function endInTime({ child, exited, output }: LaunchedProcess, complaints: string[]): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const late = setTimeout(() => {
    complaints.push(`A server did not stop within ${endMs} ms.\n${output()}`);
    child.kill('SIGKILL');
  }, endMs);
  const code = await exited;
  clearTimeout(late);
  if (code !== 0) complaints.push(`A server ended with ${code ?? child.signalCode}.\n${output()}`);
}
