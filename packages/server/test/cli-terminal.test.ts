import { execFileSync } from 'node:child_process';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { holdLocks, waitUntil } from '../../engine/test/wait-until.ts';
import { ctrlC, environmentOf, openTerminal, type Terminal } from './docket-command.ts';
import { createCases, type Served, serve } from './served.ts';

/** `script` of util-linux makes a terminal; that of others takes other options. */
const hasTerminals = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
})();

const size = 1_500;
const ids = Array.from({ length: size }, (_, index) => `CASE-${index}`);

describe.skipIf(!hasTerminals)('on a terminal', () => {
  let served: Served;
  let sql: pg.Pool;
  let open: Terminal | undefined;
  let letGo: (() => Promise<void>) | undefined;

  beforeAll(async () => {
    served = await serve({ workers: 2 });
    sql = new pg.Pool({ connectionString: served.databaseUrl });
    await createCases(served, ids);
  });
  afterEach(async () => {
    await letGo?.();
    await open?.close();
    open = undefined;
    letGo = undefined;
  });
  afterAll(async () => {
    await sql?.end();
    await served?.stop();
  });

  function terminal(args: string[], env: Record<string, string> = {}, columns?: number): Terminal {
    open = openTerminal(args, { ...environmentOf(served), ...env }, columns);
    return open;
  }

  /** A job of which a third waits for a lock. */
  async function heldJob(): Promise<string> {
    letGo = await holdLocks(sql, "select from docket.cases where case_id = 'CASE-1499' for update");
    const items = ids.map((id) => ({ id, fields: { title: `Title ${performance.now()}` } }));
    const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });
    return body.jobId;
  }

  const shows = (screen: Terminal, what: string) => waitUntil(() => screen.text().includes(what), `${what} is shown`);

  it('shows a bar as wide as there is room, and what came of it', async () => {
    const jobId = await heldJob();
    const screen = terminal(['jobs', 'watch', jobId]);
    await waitUntil(() => /update \[#+-+\] +66% {2}1,000\/1,500/.test(screen.text()), 'the bar is shown');
    expect(screen.raw()).toContain('\u001b[32m#');
    await letGo?.();
    expect(await screen.exited).toBe(0);
    expect(screen.text()).toContain(`${jobId} completed: 1,500 items: 1,500 succeeded.`);
    // why: the cursor was hidden, and must come back
    expect(screen.raw().lastIndexOf('\u001b[?25h')).toBeGreaterThan(screen.raw().lastIndexOf('\u001b[?25l'));

    const narrow = terminal(['jobs', 'watch', await heldJob()], {}, 34);
    await waitUntil(() => /update +66% {2}1,000\/1,500/.test(narrow.text()), 'the figures are shown');
    await letGo?.();
    expect(await narrow.exited).toBe(0);
  });

  it('has no colours where they are not wanted', async () => {
    const screen = terminal(['jobs', 'watch', await heldJob()], { NO_COLOR: '1' });
    await shows(screen, '1,000/1,500');
    await letGo?.();
    expect(await screen.exited).toBe(0);
    expect(screen.text()).toContain('[####');
    expect(screen.raw()).not.toContain('\u001b[3');
  });

  it('shows usage with a bar', async () => {
    const screen = terminal(['usage']);
    expect(await screen.exited).toBe(0);
    expect(screen.text()).toMatch(/^20\d\d-\d\d-\d\d +[1-9]\d* +[\d,]+ +[\d,.]+ {2}#{30}\r?$/m);
    expect(screen.raw()).toContain('\u001b[32m#');
  });

  it('asks on Ctrl-C, and goes on, or leaves the job running', async () => {
    const jobId = await heldJob();
    const screen = terminal(['jobs', 'watch', jobId]);
    await shows(screen, '1,000/1,500');
    screen.type(ctrlC);
    await shows(screen, 'What now?');
    screen.clear();
    screen.type('\r');
    await shows(screen, '1,000/1,500');
    screen.type(ctrlC);
    await shows(screen, 'What now?');
    screen.type('\u001b[B\r');
    expect(await screen.exited).toBe(130);
    expect(screen.text()).toContain(`${jobId} goes on. Follow it: docket jobs watch ${jobId}`);
    expect((await served.call('GET', `/api/v1/jobs/${jobId}`)).body.status).toBe('running');
  });

  it('leaves on a second Ctrl-C', async () => {
    const jobId = await heldJob();
    const screen = terminal(['jobs', 'watch', jobId]);
    await shows(screen, '1,000/1,500');
    screen.type(ctrlC);
    await shows(screen, 'What now?');
    screen.type(ctrlC);
    expect(await screen.exited).toBe(130);
    expect((await served.call('GET', `/api/v1/jobs/${jobId}`)).body.status).toBe('running');
  });

  it('cancels when that is chosen', async () => {
    const jobId = await heldJob();
    const screen = terminal(['jobs', 'watch', jobId]);
    await shows(screen, '1,000/1,500');
    screen.type(ctrlC);
    await shows(screen, 'What now?');
    screen.type('\u001b[A\r');
    await waitUntil(
      async () => (await served.call('GET', `/api/v1/jobs/${jobId}`)).body.cancelRequested,
      'the job is being cancelled',
    );
    await letGo?.();
    expect([0, 2]).toContain(await screen.exited);
  });

  it('takes the question back when the job ends meanwhile', async () => {
    const screen = terminal(['jobs', 'watch', await heldJob()]);
    await shows(screen, '1,000/1,500');
    screen.type(ctrlC);
    await shows(screen, 'What now?');
    await letGo?.();
    expect(await screen.exited).toBe(0);
    expect(screen.text()).toContain('1,500 succeeded');
  });

  it('shows what would change, and asks', async () => {
    const where = ['--where', 'q=CASE-149', '--set', 'assignee=kim'];
    const no = terminal(['update', 'cases', ...where]);
    await shows(no, 'Change 11 items?');
    expect(no.text()).toMatch(/CASE-149 +assignee: null -> "kim"/);
    no.type('\r');
    expect(await no.exited).toBe(1);
    expect(no.text()).toContain('Nothing was changed.');
    const yes = terminal(['update', 'cases', ...where]);
    await shows(yes, 'Change 11 items?');
    yes.type('y\r');
    expect(await yes.exited).toBe(0);
    expect(yes.text()).toContain('11 items: 11 succeeded');
  });

  it('applies what was shown, and nothing else', async () => {
    const screen = terminal(['update', 'cases', '--where', 'q=CASE-148', '--set', 'priority=high']);
    await shows(screen, 'Change 11 items?');
    await served.call('PATCH', '/api/v1/cases/CASE-1485', { title: 'Changed meanwhile' });
    screen.type('y\r');
    expect(await screen.exited).toBe(2);
    expect(screen.text()).toContain('11 items: 10 succeeded, 1 failed');
    expect((await served.call('GET', '/api/v1/cases/CASE-1485')).body.priority).toBe('normal');
  });
});
