import { realpath } from 'node:fs/promises';
import { DataDirectoryInUseError } from '@docket/engine/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../src/embedded/processes.ts';
import { killHard, query, readPostmasterPid, Workbench, waitUntil } from './workbench.ts';

const bench = new Workbench();
afterEach(() => bench.clear());

describe('the one owner of a data directory', () => {
  it('keeps a second process out, which is told who owns it and what to do', async () => {
    const dataDir = await bench.makeDataDir();
    const owner = bench.startInChild(dataDir);
    const { url } = await owner.report;
    const failure = await bench.start(dataDir).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DataDirectoryInUseError);
    expect(failure).toMatchObject({ ownerPid: owner.process.pid, dataDir: await realpath(dataDir) });
    expect(String(failure)).toMatch(/DOCKET_DATA_DIR.*DATABASE_URL/);
    expect(await query(url ?? '', 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('is exactly one of two that start at once, on a new directory and on one that is there', async () => {
    const dataDir = await bench.makeDataDir();
    for (const round of ['new', 'there']) {
      const children = [bench.startInChild(dataDir), bench.startInChild(dataDir)];
      const reports = await Promise.all(children.map((child) => child.report));
      const winners = reports.filter((report) => report.url !== undefined);
      expect(winners, round).toHaveLength(1);
      expect(reports.find((report) => report.error !== undefined)?.error?.name).toBe('DataDirectoryInUseError');
      expect(await query(winners[0]?.url ?? '', 'select 1 as one')).toEqual([{ one: 1 }]);
      const pid = await readPostmasterPid(dataDir);
      for (const child of children) child.process.kill('SIGTERM');
      await waitUntil(() => !isAlive(pid));
    }
  });

  it('is followed, when it was killed, by the next, which takes the running server over with all data', async () => {
    const dataDir = await bench.makeDataDir();
    const child = bench.startInChild(dataDir);
    const url = (await child.report).url ?? '';
    await query(url, 'create table note (text text)');
    await query(url, `insert into note values ('kept')`);
    const pid = await readPostmasterPid(dataDir);
    await killHard(child.process);

    const next = await bench.start(dataDir);
    expect(next).toMatchObject({ takenOver: true, created: false, url });
    expect(await readPostmasterPid(dataDir)).toBe(pid);
    expect(await query(next.url, 'select text from note')).toEqual([{ text: 'kept' }]);
    await next.stop();
    expect(isAlive(pid)).toBe(false);
  });
});
