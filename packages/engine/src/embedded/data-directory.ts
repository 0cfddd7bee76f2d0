import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { link, mkdir, mkdtemp, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Binaries } from './binaries.ts';
import { EmbeddedPostgresError, errorCode, errorMessage } from './errors.ts';
import { isAlive } from './processes.ts';
import { adviceInsteadOfRoot, allowRead, allowSearch, chooseRunUser, giveTo, type RunUser } from './run-user.ts';

/** The superuser, and the database that Docket uses. */
export const role = 'docket';
export const databaseName = 'docket';

/** A data directory that holds a complete database cluster. */
export interface DataDirectory {
  path: string;
  /** PostgreSQL's own directory (PGDATA). */
  clusterDir: string;
  logFile: string;
  password: string;
  runUser: RunUser | undefined;
}

/**
 * Makes the data directory ready to start PostgreSQL in. A new cluster appears in one step, complete or not at all:
 * it is made in a directory beside and renamed, so that neither a crash nor a second process leaves half of one.
 */
export async function prepareDataDirectory(
  path: string,
  binaries: Binaries,
  log: (message: string) => void,
): Promise<DataDirectory> {
  try {
    // why: root hands PostgreSQL to another user, who has to pass through
    await mkdir(path, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 });
    const real = await realpath(path);
    const clusterDir = join(real, 'postgres');
    const runUser = await chooseRunUser(clusterDir);
    if (runUser !== undefined) {
      await allowSearch(runUser, real, log);
      await allowSearch(runUser, binaries.root, log);
      await allowRead(
        runUser,
        { root: binaries.root, samples: [binaries.postgres, join(binaries.root, 'share')] },
        log,
      );
    }
    const directory = { path: real, clusterDir, logFile: join(real, 'postgres.log'), runUser };
    const created = !(await holdsCluster(clusterDir));
    const password = await readPassword(join(real, 'password'), created);
    if (created) await createCluster({ ...directory, password }, binaries, log);
    // why: a directory that root copied or restored belongs to root, which PostgreSQL would refuse
    else if (runUser !== undefined && (await stat(clusterDir)).uid === 0) await giveTo(runUser, clusterDir);
    return { ...directory, password };
  } catch (cause) {
    if (cause instanceof EmbeddedPostgresError) throw cause;
    throw new EmbeddedPostgresError(
      `The data directory ${path} cannot be used: ${errorMessage(cause)}. Make it readable and writable for this ` +
        'user, or choose another with DOCKET_DATA_DIR, or set DATABASE_URL to a PostgreSQL server.',
      { cause },
    );
  }
}

/** A data directory that holds a cluster already; undefined where there is none. Changes nothing. */
export async function findDataDirectory(
  path: string,
): Promise<Pick<DataDirectory, 'clusterDir' | 'password'> | undefined> {
  const clusterDir = join(path, 'postgres');
  if (!(await holdsCluster(clusterDir))) return undefined;
  return { clusterDir, password: await readPassword(join(path, 'password'), false) };
}

async function holdsCluster(clusterDir: string): Promise<boolean> {
  const names = await readdir(clusterDir).catch((error: unknown): string[] => {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  });
  if (names.length === 0) return false;
  if (names.includes('PG_VERSION')) return true;
  throw new EmbeddedPostgresError(
    `${clusterDir} holds files but no PostgreSQL cluster. Move it away, or choose another directory with DOCKET_DATA_DIR.`,
  );
}

async function readPassword(file: string, mayCreate: boolean): Promise<string> {
  const found = await readFile(file, 'utf8').catch((error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error;
  });
  if (found !== undefined) return found.trim();
  if (!mayCreate) {
    throw new EmbeddedPostgresError(`The database is there but its password is not: restore the file ${file}.`);
  }
  // why: a link appears in one step and never replaces, so that two processes end up with the same complete file
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    await handle.writeFile(`${randomBytes(32).toString('base64url')}\n`);
    await handle.sync();
    await handle.close();
    await link(draft, file).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  return (await readFile(file, 'utf8')).trim();
}

async function createCluster(directory: DataDirectory, binaries: Binaries, log: (message: string) => void) {
  const { path, clusterDir, runUser } = directory;
  await removeLeftovers(path);
  log(`Creating a PostgreSQL database in ${clusterDir}.`);
  const draft = await mkdtemp(join(path, `init-${process.pid}-`));
  try {
    if (runUser !== undefined) {
      await giveTo(runUser, draft);
      await giveTo(runUser, join(path, 'password'));
    }
    await runInitdb(draft, directory, binaries);
    await rename(draft, clusterDir).catch(async (error: unknown) => {
      // why: another process was faster; its cluster has the same password, so it serves us as well
      if (!(await holdsCluster(clusterDir))) throw error;
    });
    await syncDirectory(path);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function runInitdb(target: string, { path, runUser }: DataDirectory, binaries: Binaries): Promise<void> {
  const flags = [
    `--pgdata=${target}`,
    `--username=${role}`,
    `--pwfile=${join(path, 'password')}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
  ];
  try {
    await promisify(execFile)(binaries.initdb, flags, {
      cwd: target,
      env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
      ...runUser,
    });
  } catch (cause) {
    const output = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new EmbeddedPostgresError(
      `A PostgreSQL database could not be created in ${path}: ${output || errorMessage(cause)}` +
        (runUser === undefined
          ? ''
          : `\n(This process is root and ran initdb as user ${runUser.uid}.) ${adviceInsteadOfRoot}`),
      { cause },
    );
  }
}

/** Removes what a process that died while creating a cluster left behind. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    const maker = /^init-(\d+)-/.exec(name)?.[1];
    if (maker === undefined || isAlive(Number(maker))) continue;
    // why: an initdb without its parent may still write for a moment; the next start would remove the rest
    await rm(join(path, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
  }
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}
