import { setTimeout as sleep } from 'node:timers/promises';
import { type Binaries, findBinaries } from './binaries.ts';
import { type DataDirectory, databaseName, findDataDirectory, prepareDataDirectory, role } from './data-directory.ts';
import { DataDirectoryInUseError, EmbeddedPostgresError, errorMessage, ServerLostError } from './errors.ts';
import { type Ownership, takeOwnership } from './owner.ts';
import {
  findFreePort,
  findPostmaster,
  type Launched,
  launchPostmaster,
  type Postmaster,
  removeStaleLock,
  stopPostmaster,
  waitUntilReady,
} from './postmaster.ts';
import { isPostgres } from './processes.ts';

export interface EmbeddedPostgresOptions {
  /** Where the database lives; made if missing. */
  dataDir: string;
  /** Is told in plain words what was done: a new database, changed permissions, a restart. */
  log?: (message: string) => void;
  /** More command line flags of `postgres`, such as `['-c', 'work_mem=16MB']`; they win over ours. */
  postgresFlags?: readonly string[];
}

/** A running PostgreSQL that this process owns until `stop()`. */
export interface EmbeddedPostgres {
  /** Stays valid until `stop()`, also when PostgreSQL had to be started again meanwhile. Holds the password. */
  readonly url: string;
  /** Whether the server ran already, left over from a process that was killed. */
  readonly takenOver: boolean;
  /** Whether the database was made by this start and is empty. */
  readonly created: boolean;
  /** Stops PostgreSQL; resolves when its process is gone. May be called more than once. */
  stop(): Promise<void>;
}

const giveUpMs = 30_000;
const firstRetryMs = 20;
const lastRetryMs = 2_000;
const noticeMs = 2_000;

/**
 * Starts PostgreSQL in the data directory, or takes over the one that a killed process left running there; resolves
 * when it accepts connections, on the loopback address only. One process owns a data directory at a time: a second one
 * gets DataDirectoryInUseError. A server that ends without `stop()` is started again on the same port.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => undefined);
  const binaries = await findBinaries();
  const directory = await prepareDataDirectory(options.dataDir, binaries, log);
  const supervisor = new Supervisor(directory, binaries, options.postgresFlags ?? [], log);
  const { port, found, created } = await supervisor.start();
  return {
    url: urlOf(directory.password, port),
    takenOver: found,
    created,
    stop: () => supervisor.stop(),
  };
}

/** What a data directory holds: no database, one that nobody runs, or one that runs, whoever owns it. */
export type FoundPostgres = { state: 'none' } | { state: 'stopped' } | { state: 'running'; url: string };

/** Looks at a data directory without changing it; the url of a running database is good as long as its owner runs it. */
export async function findEmbeddedPostgres(dataDir: string): Promise<FoundPostgres> {
  const found = await findDataDirectory(dataDir);
  if (!found) return { state: 'none' };
  const server = await findPostmaster(found.clusterDir);
  return server ? { state: 'running', url: urlOf(found.password, server.port) } : { state: 'stopped' };
}

function urlOf(password: string, port: number): string {
  return `postgres://${role}:${password}@127.0.0.1:${port}/${databaseName}`;
}

interface Running extends Postmaster, Ownership {
  /** Whether the server ran before we came. */
  found: boolean;
}

/** Keeps one server running and owned: running -> (connection lost) -> recovering -> running, until stopped. */
class Supervisor {
  readonly #directory: DataDirectory;
  readonly #binaries: Binaries;
  readonly #flags: readonly string[];
  readonly #log: (message: string) => void;
  readonly #stopping = new AbortController();
  /** A server that we started and that nobody owns yet. */
  #launchedPid: number | undefined;
  #owned: Running | undefined;
  #recovery: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(directory: DataDirectory, binaries: Binaries, flags: readonly string[], log: (message: string) => void) {
    this.#directory = directory;
    this.#binaries = binaries;
    this.#flags = flags;
    this.#log = log;
  }

  async start(): Promise<Running> {
    const deadline = performance.now() + giveUpMs;
    try {
      for (let retryMs = firstRetryMs; ; retryMs = Math.min(retryMs * 2, lastRetryMs)) {
        const running = await this.#attempt(undefined);
        if (!(running instanceof Error)) {
          this.#watch(running);
          return running;
        }
        if (performance.now() > deadline) throw running;
        await sleep(retryMs);
      }
    } catch (error) {
      await this.stop().catch((cause: unknown) => this.#log(errorMessage(cause)));
      throw error;
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#shutDown();
    return this.#stopped;
  }

  /** One attempt to run and own the server. Resolves to an error when it is worth another, rejects when it is not. */
  async #attempt(port: number | undefined): Promise<Running | EmbeddedPostgresError> {
    const { clusterDir } = this.#directory;
    const found = await findPostmaster(clusterDir);
    const server: Postmaster & Partial<Launched> = found ?? (await this.#launch(port ?? (await findFreePort())));
    if (!(await this.#waitUntilReady(server.pid))) {
      if (server.readLog === undefined) return new EmbeddedPostgresError('PostgreSQL stopped while it was waited for.');
      return this.#explainEnd(await server.readLog(), port !== undefined);
    }
    if (port !== undefined && server.port !== port) {
      return new EmbeddedPostgresError(`PostgreSQL was started by somebody on port ${server.port} instead of ${port}.`);
    }
    try {
      const ownership = await takeOwnership(this.#directory, server);
      this.#launchedPid = undefined;
      return { ...server, ...ownership, found: found !== undefined };
    } catch (error) {
      if (error instanceof DataDirectoryInUseError) this.#launchedPid = undefined;
      if (error instanceof ServerLostError) return error;
      throw error;
    }
  }

  async #launch(port: number): Promise<Launched> {
    const launched = await launchPostmaster(this.#directory, { binaries: this.#binaries, port, flags: this.#flags });
    this.#launchedPid = launched.pid;
    return launched;
  }

  async #waitUntilReady(pid: number): Promise<boolean> {
    const notice = setTimeout(
      () => this.#log('PostgreSQL is still starting: it recovers from an unclean stop. Waiting for it.'),
      noticeMs,
    );
    try {
      return await waitUntilReady(this.#directory.clusterDir, pid, this.#stopping.signal);
    } finally {
      clearTimeout(notice);
    }
  }

  /** Why a server ended at its start, from what it wrote: resolves when it may start next time, rejects when not. */
  async #explainEnd(written: string, portIsFixed: boolean): Promise<EmbeddedPostgresError> {
    const { clusterDir, logFile } = this.#directory;
    const error = new EmbeddedPostgresError(
      `PostgreSQL did not start. The end of ${logFile}:\n${written.split('\n').slice(-15).join('\n')}`,
    );
    // Another process was faster, or the processes of a killed server are still ending, or the port was just taken.
    if (/lock file ".*" (already exists|is empty)/.test(written)) {
      await removeStaleLock(clusterDir);
      return error;
    }
    if (/pre-existing shared memory block .* is still in use/.test(written)) return error;
    if (/could not (bind|create any TCP\/IP sockets)/.test(written) || portIsFixed) return error;
    throw error;
  }

  #watch(running: Running): void {
    this.#owned = running;
    void running.lost.then(() => {
      this.#owned = undefined;
      if (!this.#stopping.signal.aborted) this.#recovery = this.#recover(running.port);
    });
  }

  async #recover(port: number): Promise<void> {
    const { signal } = this.#stopping;
    let told = '';
    const tell = (message: string) => {
      if (message !== told) this.#log(message);
      told = message;
    };
    for (let retryMs = firstRetryMs; !signal.aborted; retryMs = Math.min(retryMs * 2, lastRetryMs)) {
      try {
        if ((await findPostmaster(this.#directory.clusterDir)) === undefined) {
          tell('PostgreSQL ended unexpectedly; starting it again.');
        }
        const running = await this.#attempt(port);
        if (!(running instanceof Error)) {
          // why both: it may have ended just after it was looked for above
          if (told !== '' || !running.found) this.#log('PostgreSQL is back.');
          this.#watch(running);
          return;
        }
        if (retryMs === lastRetryMs) tell(running.message);
      } catch (error) {
        if (signal.aborted) return;
        tell(
          error instanceof DataDirectoryInUseError
            ? `Another process took over: ${error.message}`
            : errorMessage(error),
        );
      }
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #shutDown(): Promise<void> {
    this.#stopping.abort();
    await this.#recovery;
    // why: the lock is held until the server is gone, so that nobody can take over a server that we stop
    const owned = this.#owned === undefined ? undefined : await findPostmaster(this.#directory.clusterDir);
    const pid = owned?.pid ?? this.#launchedPid;
    if (pid !== undefined && isPostgres(pid)) {
      await stopPostmaster(pid, this.#directory, { binaries: this.#binaries, log: this.#log });
    }
    await this.#owned?.client.end().catch(() => undefined);
  }
}
