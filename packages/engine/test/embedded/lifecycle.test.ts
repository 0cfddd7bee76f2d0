import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findEmbeddedPostgres } from '@docket/engine/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/embedded/processes.ts';
import { query, readPostmasterPid, Workbench } from './workbench.ts';

const bench = new Workbench();
afterEach(() => bench.clear());

describe('an embedded PostgreSQL', () => {
  it('keeps what was written over a stop and a start', async () => {
    const dataDir = await bench.makeDataDir();
    const first = await bench.start(dataDir);
    expect(first).toMatchObject({ created: true, takenOver: false });
    await query(first.url, 'create table note (text text)');
    await query(first.url, `insert into note values ('kept')`);
    const pid = await readPostmasterPid(dataDir);
    await first.stop();
    await first.stop();
    expect(isAlive(pid)).toBe(false);

    const second = await bench.start(dataDir);
    expect(second).toMatchObject({ created: false, takenOver: false });
    expect(await query(second.url, 'select text from note')).toEqual([{ text: 'kept' }]);
  });

  it('is found by others while it runs, and not made by looking', async () => {
    const dataDir = await bench.makeDataDir();
    expect(await findEmbeddedPostgres(dataDir)).toEqual({ state: 'none' });
    await expect(stat(dataDir)).rejects.toMatchObject({ code: 'ENOENT' });
    const server = await bench.start(dataDir);
    expect(await findEmbeddedPostgres(dataDir)).toEqual({ state: 'running', url: server.url });
    await server.stop();
    expect(await findEmbeddedPostgres(dataDir)).toEqual({ state: 'stopped' });
  });

  it('is durable, in UTF-8, in UTC, reachable on the loopback address only and by its password only', async () => {
    const dataDir = await bench.makeDataDir();
    const { url } = await bench.start(dataDir);
    expect(
      await query(
        url,
        `select name, setting from pg_settings
         where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'TimeZone',
           'unix_socket_directories', 'server_encoding', 'password_encryption') order by name collate "C"`,
      ),
    ).toEqual([
      { name: 'TimeZone', setting: 'UTC' },
      { name: 'fsync', setting: 'on' },
      { name: 'full_page_writes', setting: 'on' },
      { name: 'listen_addresses', setting: '127.0.0.1' },
      { name: 'password_encryption', setting: 'scram-sha-256' },
      { name: 'server_encoding', setting: 'UTF8' },
      { name: 'synchronous_commit', setting: 'on' },
      { name: 'unix_socket_directories', setting: '' },
    ]);
    expect(await query(url, `select upper('äß') as upper`)).toEqual([{ upper: 'Äß' }]);
    const wrong = new URL(url);
    wrong.password = 'wrong';
    await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
    expect((await stat(join(dataDir, 'password'))).mode & 0o777).toBe(0o600);
    expect((await readFile(join(dataDir, 'password'), 'utf8')).trim()).toBe(new URL(url).password);
  });

  it('takes settings of the caller, but keeps to its address', async () => {
    const { url } = await bench.start(await bench.makeDataDir(), {
      postgresFlags: ['-c', 'work_mem=5MB', '-c', 'listen_addresses=0.0.0.0'],
    });
    expect(await query(url, 'show work_mem')).toEqual([{ work_mem: '5MB' }]);
    expect(await query(url, 'show listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }]);
  });

  it('tells the end of the log when PostgreSQL does not start', async () => {
    const dataDir = await bench.makeDataDir();
    const starting = bench.start(dataDir, { postgresFlags: ['-c', 'no_such_setting=1'] });
    await expect(starting).rejects.toThrow(/did not start[\s\S]*no_such_setting/);
  });

  it('starts although the process id of its lock file belongs to another program now', async () => {
    const dataDir = await bench.makeDataDir();
    await (await bench.start(dataDir)).stop();
    const lockFile = join(dataDir, 'postgres', 'postmaster.pid');
    await writeFile(
      lockFile,
      `${process.ppid}\n${join(dataDir, 'postgres')}\n1700000000\n1\n\n127.0.0.1\n  1  1\nready   \n`,
    );
    const server = await bench.start(dataDir);
    expect(server.takenOver).toBe(false);
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('names a directory that holds something else', async () => {
    const dataDir = await bench.makeDirectory();
    await writeFile(join(dataDir, 'postgres'), 'not a directory');
    await expect(bench.start(dataDir)).rejects.toThrow(dataDir);
  });
});
