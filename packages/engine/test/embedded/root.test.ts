import { chmod, chown, cp, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { findBinaries } from '../../src/embedded/binaries.ts';
import { allowRead, allowSearch, chooseRunUser } from '../../src/embedded/run-user.ts';
import { query, Workbench } from './workbench.ts';

const bench = new Workbench();
afterEach(() => bench.clear());

describe.runIf(process.getuid?.() === 0)('an embedded PostgreSQL of root', () => {
  it('runs as another user inside private directories, and says what it opened', async () => {
    const privateDir = await bench.makeDirectory();
    const inner = join(privateDir, 'clone');
    await mkdir(inner, { mode: 0o700 });
    const dataDir = join(inner, 'data');
    const logged: string[] = [];
    const { url } = await bench.start(dataDir, { log: (message) => logged.push(message) });
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect((await stat(join(dataDir, 'postgres'))).uid).not.toBe(0);
    for (const directory of [privateDir, inner]) {
      expect((await stat(directory)).mode & 0o777).toBe(0o701);
      expect(logged.join('\n')).toContain(`could not pass through ${directory},`);
    }
  });

  it('runs as the owner of a directory that is there', async () => {
    const dataDir = await bench.makeDataDir();
    const clusterDir = join(dataDir, 'postgres');
    await mkdir(clusterDir, { recursive: true });
    await chown(clusterDir, 65534, 65534);
    const { url } = await bench.start(dataDir);
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect((await stat(clusterDir)).uid).toBe(65534);
  });

  it('opens an installation that a strict umask made private', async () => {
    const root = join(await bench.makeDirectory(), 'native');
    const user = await chooseRunUser('/');
    const { root: installed } = await findBinaries();
    await cp(join(installed, 'bin'), join(root, 'bin'), { recursive: true });
    const program = join(root, 'bin', 'postgres');
    for (const path of [root, join(root, 'bin')]) await chmod(path, 0o700);
    await chmod(program, 0o700);
    if (user === undefined) throw new Error('root has no user to run PostgreSQL as');
    const logged: string[] = [];
    await allowSearch(user, root, (message) => logged.push(message));
    await allowRead(user, { root, samples: [program] }, (message) => logged.push(message));
    expect((await stat(program)).mode & 0o777).toBe(0o705);
    expect((await stat(join(root, 'bin'))).mode & 0o777).toBe(0o705);
    expect(logged.at(-1)).toContain(root);
  });
});
