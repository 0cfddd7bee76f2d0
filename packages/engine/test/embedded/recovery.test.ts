import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/embedded/processes.ts';
import { killHard, query, readPostmasterPid, Workbench, waitUntil } from './workbench.ts';

const bench = new Workbench();
afterEach(() => bench.clear());

async function answers(url: string): Promise<boolean> {
  return (await query<{ one: number }>(url, 'select 1 as one'))[0]?.one === 1;
}

describe('an embedded PostgreSQL that was hit', () => {
  it.each(['SIGKILL', 'SIGQUIT', 'SIGINT'] as const)('comes back on the same URL after %s', async (signal) => {
    const dataDir = await bench.makeDataDir();
    const logged: string[] = [];
    const { url } = await bench.start(dataDir, { log: (message) => logged.push(message) });
    await query(url, 'create table note (text text)');
    const pid = await readPostmasterPid(dataDir);
    process.kill(pid, signal);
    await waitUntil(async () => !isAlive(pid) && (await answers(url)));
    expect(await query(url, 'select * from note')).toEqual([]);
    await waitUntil(() => logged.at(-1) === 'PostgreSQL is back.');
    await expect(bench.start(dataDir)).rejects.toThrow(`process ${process.pid}`);
  });

  it('comes back also when it was taken over', async () => {
    const dataDir = await bench.makeDataDir();
    const child = bench.startInChild(dataDir);
    await child.report;
    await killHard(child.process);
    const { url, takenOver } = await bench.start(dataDir);
    expect(takenOver).toBe(true);
    process.kill(await readPostmasterPid(dataDir), 'SIGKILL');
    await waitUntil(() => answers(url));
  });

  it('is owned again after the connection that holds the lock was cut', async () => {
    const dataDir = await bench.makeDataDir();
    const { url } = await bench.start(dataDir);
    const owners = `select pid from pg_stat_activity where application_name like 'docket-owner-%'`;
    const [before] = await query<{ pid: number }>(url, owners);
    await query(url, `select pg_terminate_backend(${before?.pid})`);
    await waitUntil(async () => {
      const rows = await query<{ pid: number }>(url, owners);
      return rows.length === 1 && rows[0]?.pid !== before?.pid;
    });
  });

  it('stays down when it is stopped while it comes back', async () => {
    const dataDir = await bench.makeDataDir();
    const logged: string[] = [];
    const server = await bench.start(dataDir, { log: (message) => logged.push(message) });
    process.kill(await readPostmasterPid(dataDir), 'SIGKILL');
    await waitUntil(() => logged.some((message) => message.includes('starting it again')));
    await server.stop();
    await expect(query(server.url, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect((await bench.start(dataDir)).takenOver).toBe(false);
  });

  it('is made anew when the process that made it was killed in the middle', async () => {
    const dataDir = await bench.makeDataDir();
    const child = bench.startInChild(dataDir);
    child.report.catch(() => undefined);
    await waitUntil(async () => {
      const draft = (await readdir(dataDir)).find((name) => name.startsWith('init-')) ?? '';
      return (await stat(join(dataDir, draft, 'PG_VERSION'))).isFile();
    });
    await killHard(child.process);
    expect(await readdir(dataDir)).not.toContain('postgres');
    const deadDraft = join(dataDir, 'init-999999999-leftover');
    await mkdir(deadDraft);
    await writeFile(join(deadDraft, 'PG_VERSION'), '18\n');

    const server = await bench.start(dataDir);
    expect(server.created).toBe(true);
    expect(await answers(server.url)).toBe(true);
    expect((await readdir(dataDir)).sort()).toEqual(['password', 'postgres', 'postgres.log']);
  });
});
