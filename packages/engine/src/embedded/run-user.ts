import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { chmod, lchown, lstat, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedPostgresError, errorCode } from './errors.ts';

/** The system user that PostgreSQL runs as when this process is root, which PostgreSQL refuses to run as. */
export interface RunUser {
  uid: number;
  gid: number;
}

const nobody: RunUser = { uid: 65534, gid: 65534 };

/**
 * The user to run PostgreSQL as: undefined (ourselves) unless we are root; then the owner of `clusterDir` if that is
 * somebody else, else the system's `postgres`, else `nobody`.
 */
export async function chooseRunUser(clusterDir: string): Promise<RunUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(clusterDir).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  return (await lookUpUser('postgres')) ?? (await lookUpUser('nobody')) ?? nobody;
}

/** Makes every directory above `path`, and `path` itself if it is one, searchable for the user; logs each change. */
export async function allowSearch(user: RunUser, path: string, log: (message: string) => void): Promise<void> {
  const target = await realpath(path);
  const directories = (await stat(target)).isDirectory() ? [target] : [];
  for (let at = target; at !== dirname(at); at = dirname(at)) directories.unshift(dirname(at));
  for (const directory of directories) {
    const status = await stat(directory);
    const search = permissionFor(user, status, 0o1);
    if ((status.mode & search) !== 0) continue;
    await addPermission(directory, status, search);
    log(
      `PostgreSQL cannot run as root and runs as user ${user.uid}; that user could not pass through ${directory}, ` +
        'so it was given search permission (execute, not read) there.',
    );
  }
}

/** Makes the installation below `root` readable for the user, where a strict umask made it private; logs the change. */
export async function allowRead(
  user: RunUser,
  { root, samples }: { root: string; samples: string[] },
  log: (message: string) => void,
): Promise<void> {
  const readable = await Promise.all(
    [root, ...samples].map(async (path) => {
      const status = await stat(path);
      return (status.mode & permissionFor(user, status, 0o4)) !== 0;
    }),
  );
  if (readable.every(Boolean)) return;
  for (const path of [root, ...(await readdir(root, { recursive: true })).map((name) => join(root, name))]) {
    const status = await lstat(path);
    if (status.isSymbolicLink()) continue;
    const wanted = permissionFor(user, status, (status.mode & 0o100) === 0 ? 0o4 : 0o5);
    if ((status.mode & wanted) !== wanted) await addPermission(path, status, wanted);
  }
  log(`PostgreSQL cannot run as root and runs as user ${user.uid}; the files below ${root} were made readable for it.`);
}

/** Gives `path` and everything in it to the user. */
export async function giveTo(user: RunUser, path: string): Promise<void> {
  try {
    const status = await lstat(path);
    if (status.isDirectory()) {
      for (const name of await readdir(path)) await giveTo(user, join(path, name));
    }
    if (status.uid !== user.uid || status.gid !== user.gid) await lchown(path, user.uid, user.gid);
  } catch (cause) {
    if (cause instanceof EmbeddedPostgresError) throw cause;
    throw new EmbeddedPostgresError(
      `PostgreSQL cannot run as root, and ${path} could not be given to user ${user.uid}, which it would run as. ` +
        adviceInsteadOfRoot,
      { cause },
    );
  }
}

/** What to do where root cannot hand PostgreSQL to another user. */
export const adviceInsteadOfRoot =
  'Run as a normal user, or choose another place with DOCKET_DATA_DIR, or set DATABASE_URL to a PostgreSQL server.';

/** Shifts permission bits (4 read, 1 search) to the class of the file mode that counts for the user. */
function permissionFor(user: RunUser, status: Stats, bits: number): number {
  if (status.uid === user.uid) return bits << 6;
  return status.gid === user.gid ? bits << 3 : bits;
}

async function addPermission(path: string, status: Stats, bits: number): Promise<void> {
  try {
    await chmod(path, (status.mode & 0o7777) | bits);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `PostgreSQL cannot run as root, and the user it runs as cannot get at ${path} (${errorCode(cause)}). ` +
        `Run \`chmod o+rx ${path}\`. ${adviceInsteadOfRoot}`,
      { cause },
    );
  }
}

async function lookUpUser(name: string): Promise<RunUser | undefined> {
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((flag) => promisify(execFile)('id', [flag, name])));
    const user = { uid: Number(uid?.stdout), gid: Number(gid?.stdout) };
    return user.uid > 0 && Number.isInteger(user.gid) ? user : undefined;
  } catch {
    return undefined;
  }
}
