import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Binaries } from './binaries.ts';
import type { DataDirectory } from './data-directory.ts';
import { EmbeddedPostgresError, errorCode, errorMessage } from './errors.ts';
import { isAlive, isPostgres } from './processes.ts';
import { adviceInsteadOfRoot } from './run-user.ts';

/** A running PostgreSQL server: its first process and where it listens. */
export interface Postmaster {
  pid: number;
  port: number;
}

/** A server that this process started. */
export interface Launched extends Postmaster {
  /** What the server wrote to its log since. */
  readLog(): Promise<string>;
}

const pollMs = 10;
const fastStopMs = 10_000;
const immediateStopMs = 10_000;
const keepLogBytes = 10 * 1024 * 1024;

/** Settings of every start. Durability is PostgreSQL's default: fsync, full_page_writes and synchronous_commit on. */
const settings: Record<string, string> = {
  max_connections: '100',
  shared_buffers: '256MB',
  min_wal_size: '256MB',
  max_wal_size: '2GB',
  wal_compression: 'off',
  checkpoint_timeout: '15min',
  checkpoint_completion_target: '0.9',
  jit: 'off',
  TimeZone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] ',
  log_checkpoints: 'off',
  // why: errors of statements reach the caller anyway, and their details would put records into the log
  log_min_messages: 'log',
};

/** What PostgreSQL wrote down about the server of this directory; undefined when it runs no server. */
export async function findPostmaster(clusterDir: string): Promise<Postmaster | undefined> {
  const file = await readPidFile(clusterDir);
  return file !== undefined && isPostgres(file.pid) ? { pid: file.pid, port: file.port } : undefined;
}

/** Starts a server of its own session, so that neither Ctrl-C nor the end of this process reaches it. */
export async function launchPostmaster(
  { clusterDir, logFile, runUser }: DataDirectory,
  { binaries, port, flags }: { binaries: Binaries; port: number; flags: readonly string[] },
): Promise<Launched> {
  let output: FileHandle | undefined;
  try {
    await rotateLog(logFile);
    output = await open(logFile, 'a', 0o600);
    if (runUser !== undefined) await output.chown(runUser.uid, runUser.gid);
    const logStart = (await output.stat()).size;
    const child = spawn(
      binaries.postgres,
      [
        '-D',
        clusterDir,
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
        ...flags,
        ...['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', `port=${port}`],
      ],
      {
        cwd: clusterDir,
        detached: true,
        stdio: ['ignore', output.fd, output.fd],
        env: { ...process.env, LC_ALL: 'C' },
        ...runUser,
      },
    );
    await once(child, 'spawn');
    child.unref();
    const readLog = async () => (await readFile(logFile)).subarray(logStart).toString('utf8').trim();
    return { pid: child.pid ?? 0, port, readLog };
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `${binaries.postgres} could not be started: ${errorMessage(cause)}.` +
        (runUser === undefined
          ? ''
          : ` This process is root and tried to run it as user ${runUser.uid}. ${adviceInsteadOfRoot}`),
      { cause },
    );
  } finally {
    await output?.close();
  }
}

/** Resolves to true when the server accepts connections, to false when it ended before. */
export async function waitUntilReady(clusterDir: string, pid: number, signal: AbortSignal): Promise<boolean> {
  while (isAlive(pid)) {
    const file = await readPidFile(clusterDir);
    if (file?.pid === pid && file.status === 'ready') return true;
    await sleep(pollMs, undefined, { signal });
  }
  return false;
}

/**
 * Removes a lock file whose process id belongs to something that is not PostgreSQL (after a reboot, or in a new
 * container). PostgreSQL itself cannot tell and refuses to start; its shared memory lock still guards the data.
 */
export async function removeStaleLock(clusterDir: string): Promise<boolean> {
  const file = await readPidFile(clusterDir);
  if (file === undefined || isPostgres(file.pid)) return false;
  await rm(join(clusterDir, 'postmaster.pid'), { force: true });
  return true;
}

/** Stops the server: connections are closed, the data is on disk; resolves when the process is gone. */
export async function stopPostmaster(
  pid: number,
  { clusterDir }: DataDirectory,
  { binaries, log }: { binaries: Binaries; log: (message: string) => void },
): Promise<void> {
  // why: Windows has no signals; its processes would be cut off
  if (process.platform === 'win32') {
    await promisify(execFile)(binaries.pgCtl, ['stop', '-D', clusterDir, '-m', 'fast', '-w']);
    return;
  }
  if (await endProcess(pid, 'SIGINT', fastStopMs)) return;
  log('PostgreSQL did not stop in time; stopping it at once. It will recover from its log at the next start.');
  if (await endProcess(pid, 'SIGQUIT', immediateStopMs)) return;
  throw new EmbeddedPostgresError(`PostgreSQL (process ${pid}) did not stop.`);
}

async function endProcess(pid: number, signal: NodeJS.Signals, withinMs: number): Promise<boolean> {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return true;
    throw error;
  }
  const deadline = performance.now() + withinMs;
  while (isAlive(pid)) {
    if (performance.now() > deadline) return false;
    await sleep(pollMs);
  }
  return true;
}

/** A port of the loopback address that nobody listens on at this moment. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** https://www.postgresql.org/docs/18/storage-file-layout.html: process id, directory, start, port, .., status. */
async function readPidFile(clusterDir: string): Promise<(Postmaster & { status: string }) | undefined> {
  const text = await readFile(join(clusterDir, 'postmaster.pid'), 'utf8').catch((error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error;
  });
  const lines = text?.split('\n') ?? [];
  const pid = Number(lines[0]);
  return pid > 0 ? { pid, port: Number(lines[3]), status: (lines[7] ?? '').trim() } : undefined;
}

async function rotateLog(logFile: string): Promise<void> {
  const status = await stat(logFile).catch(() => undefined);
  if (status !== undefined && status.size > keepLogBytes) await rename(logFile, `${logFile}.1`);
}
