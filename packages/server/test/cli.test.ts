import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { holdLocks, waitUntil } from '../../engine/test/wait-until.ts';
import { docket as command, environmentOf, type Ran, startDocket } from './docket-command.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
let sql: pg.Pool;
let folder: string;
let docket: (args: readonly string[], input?: string) => Promise<Ran>;

beforeAll(async () => {
  served = await serve({ workers: 2 });
  sql = new pg.Pool({ connectionString: served.databaseUrl });
  folder = await mkdtemp(join(tmpdir(), 'docket-cli-'));
  docket = (args, input) => command(args, environmentOf(served), input);
});
afterAll(async () => {
  await sql?.end();
  await served?.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await sql.query('delete from docket.cases');
});

const ids = (count: number) => Array.from({ length: count }, (_, index) => `CASE-${index}`);
const statusOf = async (id: string) => (await served.call('GET', `/api/v1/cases/${id}`)).body.status;

/** A job of 1,501 items in order, of which none is applied before the lock is let go of. */
async function heldJob(): Promise<{ jobId: string; letGo(): Promise<void> }> {
  await createCases(served, ids(1_500));
  const letGo = await holdLocks(sql, "select from docket.cases where case_id = 'CASE-5' for update");
  // why the first one twice: its chunks wait for each other
  const items = [...ids(1_500), 'CASE-0'].map((id) => ({ id, fields: { status: 'Under Review' } }));
  const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'async' } });
  return { jobId: body.jobId, letGo };
}

describe('docket update', () => {
  it('changes all that match, once it is told that nobody need be asked', async () => {
    await createCases(served, ids(120));
    const args = ['update', 'cases', '--where', 'status=In Progress', '--set', 'status=Under Review'];
    const refused = await docket(args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('120 items: 120 would be applied.');
    expect(refused.stderr).toContain('120 items would be changed, and nobody can be asked. Give --yes');
    expect(await statusOf('CASE-7')).toBe('In Progress');

    const wrongCount = await docket([...args, '--yes', '--expect', '119']);
    expect([wrongCount.code, wrongCount.stderr]).toEqual([1, expect.stringContaining('expected_count_mismatch')]);
    expect(await statusOf('CASE-7')).toBe('In Progress');

    const done = await docket([...args, '--yes', '--expect', '120']);
    expect([done.code, done.stdout]).toEqual([
      0,
      expect.stringMatching(/^job_\w+ completed: 120 items: 120 succeeded\.\n$/),
    ]);
    expect(await statusOf('CASE-7')).toBe('Under Review');
  });

  it('shows what it would do, and applies exactly that later', async () => {
    await createCases(served, ids(3));
    await createCases(served, ['OTHER'], 'Resolved');
    const fields = [
      '--set',
      'status=On Hold',
      '--set',
      'data.site=Rome',
      '--set-json',
      'data.floor=3',
      '--unset',
      'assignee',
    ];
    const args = [
      'update',
      'cases',
      '--where',
      'status=In Progress',
      '--where',
      'status=Resolved',
      ...fields,
      '--dry-run',
    ];
    const preview = await docket([...args, '--json']);
    expect(preview.code).toBe(2);
    expect(preview.json()).toMatchObject({
      dryRun: true,
      summary: { total: 4, succeeded: 3, failed: 1 },
      sample: [
        { before: { status: 'In Progress' }, after: { status: 'On Hold', data: { site: 'Rome', floor: 3 } } },
        {},
        {},
      ],
    });
    expect(await statusOf('CASE-0')).toBe('In Progress');
    const shown = await docket(args);
    expect(shown.stdout).toContain('4 items: 3 would be applied, 1 would fail.');
    expect(shown.stdout).toMatch(/CASE-0 +status: "In Progress" -> "On Hold"/);
    expect(shown.stdout).toMatch(/OTHER +invalid_transition/);
    const applied = await docket(['jobs', 'apply', preview.json().jobId]);
    expect(applied.code).toBe(2);
    expect(await statusOf('CASE-0')).toBe('On Hold');
  });

  it('asks nobody about a few, and says when there is nothing to do', async () => {
    await createCases(served, ids(2));
    const args = ['update', 'cases', '--where', 'status=In Progress', '--set', 'status=Resolved'];
    expect((await docket(args)).code).toBe(0);
    const again = await docket(args);
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('No record matches.')]);
    const unassigned = await docket(['cases', 'list', '--where', 'assignee=', '--json']);
    expect(unassigned.json()).toHaveLength(2);
  });

  it('wants to be told what, and which', async () => {
    for (const [args, told] of [
      [['update', 'cases', '--set', 'status=New'], 'say which records'],
      [['update', 'cases', '--all'], 'Nothing is to be set'],
      [['update', 'cases', '--all', '--set', 'status'], 'must be name=value'],
      [['update', 'cases', '--all', '--set-json', 'data={'], 'is no JSON'],
      [['update', 'cases', '--all', '--set', 'data.a=1', '--set-json', 'data={}'], 'data is set twice'],
      [['update', 'cases', '--all', '--set', 'status=New', '--expect', 'x'], 'whole number from 0'],
      [['update', 'nothings', '--all', '--set', 'status=New', '--yes'], 'route_not_found'],
    ] as const) {
      const { code, stderr, stdout } = await docket(args);
      expect([code, stdout, stderr], args.join(' ')).toEqual([1, '', expect.stringContaining(told)]);
      expect(stderr).not.toContain('    at ');
    }
  });
});

describe('docket import', () => {
  it('sends a file with other names for its columns, and tells which rows failed', async () => {
    const file = join(folder, 'new.csv');
    const rows = ids(1_500).map((id) => `${id},"A ""quoted"", title"`);
    await writeFile(file, ['\ufeff"Case\nNumber",Summary', ...rows, 'CASE-0,again', ''].join('\r\n'));
    const map = ['--map', 'Case\nNumber=caseId', '--map', 'Summary=title'];
    const done = await docket(['import', file, '--create', ...map, '--yes', '--label', 'may', '--json']);
    expect([done.code, done.json()]).toEqual([2, expect.objectContaining({ outcome: 'some_failed' })]);
    expect(done.json().summary).toMatchObject({ total: 1_501, succeeded: 1_500, failed: 1 });
    const failed = await docket(['results', done.json().jobId, '--failed']);
    expect(failed.stdout).toMatch(/1500 +CASE-0 .*already_exists/);
    const { body } = await served.call('GET', '/api/v1/cases/CASE-9');
    expect(body.title).toBe('A "quoted", title');
    expect((await docket(['jobs', 'list', '--label', 'may', '--json'])).json()).toHaveLength(1);
  });

  it('reads standard input, and refuses what nobody can be asked about', async () => {
    await createCases(served, ids(150));
    const lines = ids(150).map((caseId) => `${JSON.stringify({ caseId, assignee: 'kim' })}\n`);
    const args = ['import', '-', '--format', 'ndjson'];
    const refused = await docket(args, lines.join(''));
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('150 items would be changed')]);
    const done = await docket([...args, '--yes', '--gzip'], lines.join(''));
    expect(done.code).toBe(0);
    expect((await served.call('GET', '/api/v1/cases/CASE-9')).body.assignee).toBe('kim');
  });

  it('says what is wrong before it sends anything', async () => {
    const file = join(folder, 'columns.csv');
    await writeFile(file, 'caseId,Summary\nCASE-1,x\n');
    for (const [args, told] of [
      [[join(folder, 'none.csv')], 'cannot be read'],
      [[folder, '--format', 'csv'], 'is a directory'],
      [['-'], 'Say what standard input holds'],
      [
        [file, '--map', 'Title=title'],
        'The file has no column "Title", which --map names. It has: "caseId", "Summary".',
      ],
      [[file, '--map', 'Title'], 'must be column=field'],
      [[file], 'The column "Summary" is not known'],
    ] as const) {
      const { code, stderr } = await docket(['import', ...args]);
      expect([code, stderr], args.join(' ')).toEqual([1, expect.stringContaining(told)]);
    }
    expect((await served.call('GET', '/api/v1/jobs?status=running')).body.items).toEqual([]);
  });
});

describe('docket import that is interrupted', () => {
  const lines = ids(2_500).map((caseId) => `${JSON.stringify({ caseId, title: 'x' })}\n`);
  const args = ['import', '-', '--format', 'ndjson', '--create', '--yes'];

  it('applies nothing of what it has sent by then', async () => {
    const sending = startDocket(args, environmentOf(served));
    const uploads = async () =>
      (await sql.query("select 1 from docket.jobs where status = 'pending' and total = 0")).rowCount;
    sending.child.stdin?.write(lines.join(''));
    await waitUntil(async () => (await uploads()) === 1, 'the upload has begun');
    sending.child.kill('SIGINT');
    const { code, stderr } = await sending.ran;
    expect([code, stderr]).toEqual([130, expect.stringContaining('not sent to its end. Nothing was applied.')]);
    await waitUntil(async () => (await uploads()) === 0, 'the upload has failed');
    expect((await sql.query('select 1 from docket.cases')).rowCount).toBe(0);
  });

  it('does not say so when all of it was sent', async () => {
    let received = false;
    const silent = createServer((request) => {
      request.resume().once('end', () => {
        received = true;
      });
    }).listen(0, '127.0.0.1');
    try {
      await once(silent, 'listening');
      const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
      const sending = startDocket(args, { DOCKET_URL: url, DOCKET_API_KEY: 'key' });
      sending.child.stdin?.end(lines.join(''));
      await waitUntil(() => received, 'all is sent');
      sending.child.kill('SIGINT');
      expect(await sending.ran).toMatchObject({ code: 130, stderr: expect.stringContaining('may have become a job') });
    } finally {
      silent.closeAllConnections();
      silent.close();
    }
  });
});

describe('docket jobs', () => {
  it('watches a job by lines where there is no terminal', async () => {
    const { jobId, letGo } = await heldJob();
    const watching = startDocket(['jobs', 'watch', jobId], environmentOf(served));
    await waitUntil(() => watching.output().includes('/1,501'), 'progress is told');
    await letGo();
    const { code, stdout, stderr } = await watching.ran;
    expect([code, stdout]).toEqual([0, `${jobId} completed: 1,501 items: 1,501 succeeded.\n`]);
    expect(stdout + stderr).not.toContain('\u001b');
    expect((await docket(['jobs', 'watch', jobId, '--json'])).json()).toMatchObject({ outcome: 'all_succeeded' });
  });

  it('leaves the job alone when it is interrupted', async () => {
    const { jobId, letGo } = await heldJob();
    const watching = startDocket(['jobs', 'watch', jobId], environmentOf(served));
    await waitUntil(() => watching.output().includes('/1,501'), 'progress is told');
    watching.child.kill('SIGINT');
    const { code, stderr } = await watching.ran;
    expect([code, stderr]).toEqual([
      130,
      expect.stringContaining(`${jobId} goes on. Follow it: docket jobs watch ${jobId}`),
    ]);
    await letGo();
    expect((await docket(['jobs', 'watch', jobId])).code).toBe(0);
  });

  it('stops, repeats and undoes', async () => {
    const { jobId, letGo } = await heldJob();
    const statusAfter = async (...args: string[]) => (await docket(['jobs', ...args, '--json'])).json().status;
    expect(await statusAfter('pause', jobId)).toBe('paused');
    expect((await docket(['jobs', 'show', jobId])).stdout).toMatch(/^can be asked +cancel, resume$/m);
    expect(['pending', 'running']).toContain(await statusAfter('resume', jobId));
    expect((await docket(['jobs', 'cancel', jobId])).code).toBe(0);
    await letGo();
    const cancelled = await docket(['jobs', 'watch', jobId]);
    expect([cancelled.code, cancelled.stdout]).toEqual([
      2,
      expect.stringMatching(/cancelled: 1,501 items: .* not processed/),
    ]);
    const retried = await docket(['jobs', 'retry', jobId, '--json']);
    expect([retried.code, retried.json().outcome]).toEqual([0, 'all_succeeded']);
    expect(await statusOf('CASE-1400')).toBe('Under Review');
    const last = retried.json().jobId;
    const refused = await docket(['jobs', 'revert', last]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('Give --yes')]);
    expect((await docket(['jobs', 'revert', last, '--yes'])).code).toBe(0);
    expect(await statusOf('CASE-1400')).toBe('In Progress');
    expect((await docket(['jobs', 'delete', last])).code).toBe(0);
    expect((await docket(['jobs', 'show', last])).stderr).toContain('job_not_found');
  });
});

it('--detach names the job and does not wait for it', async () => {
  const { letGo } = await heldJob();
  const args = ['update', 'cases', '--where', 'q=CASE-5', '--set', 'assignee=kim', '--yes', '--detach'];
  const detached = await docket(args);
  expect([detached.code, detached.stdout]).toEqual([
    0,
    expect.stringMatching(/^job_\w+ goes on\. Follow it: docket jobs watch job_\w+\n$/),
  ]);
  await letGo();
  expect((await docket(['jobs', 'watch', detached.stdout.split(' ')[0] as string])).code).toBe(0);
});

describe('docket results', () => {
  it('gives them as a table, JSON, NDJSON and CSV, whole and filtered', async () => {
    await createCases(served, ids(2));
    const items = [...ids(2), 'GONE-1', 'GONE-2'].map((id) => ({
      id,
      fields: { assignee: 'kim' },
      ref: `row of ${id}`,
    }));
    const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items });
    const results = (...args: string[]) => docket(['results', body.jobId, ...args]);
    const table = await results();
    expect(table.stdout).toMatch(/^3 +GONE-2 +row of GONE-2 +failed +not_found +There is no record/m);
    expect((await results('--json')).json().map(({ id }: { id: string }) => id)).toEqual([
      ...ids(2),
      'GONE-1',
      'GONE-2',
    ]);
    expect((await results('--failed', '--json')).json()).toHaveLength(2);
    expect((await results('--code', 'version_conflict', '--json')).json()).toEqual([]);
    const ndjson = (await results('--ndjson', '--failed')).stdout.trim().split('\n');
    expect(ndjson.map((line) => JSON.parse(line).id)).toEqual(['GONE-1', 'GONE-2']);
    const csv = (await results('--csv')).stdout.trim().split('\r\n');
    expect(csv).toHaveLength(5);
    expect(csv[0]).toMatch(/^caseId,.*result_code/);
    const few = await results('--limit', '1');
    expect([few.stdout.trim().split('\n').length, few.stderr]).toEqual([2, expect.stringContaining('more than 1')]);
    expect((await results('--csv', '--json')).code).toBe(1);
  });

  it('ends without a word when its reader has seen enough', async () => {
    await createCases(served, ids(1_000));
    const items = ids(1_000).map((id) => ({ id, fields: { title: 'x'.repeat(500) } }));
    const { body } = await served.call('POST', '/api/v1/cases/bulk-update', { items, options: { mode: 'sync' } });
    const reading = startDocket(['results', body.jobId, '--ndjson'], environmentOf(served));
    reading.child.stdout?.once('data', () => reading.child.stdout?.destroy());
    const { code, stderr } = await reading.ran;
    expect([code, stderr]).toEqual([0, '']);
  });
});

describe('docket cases', () => {
  it('gets, lists, sets and looks back', async () => {
    await createCases(served, ids(3));
    const set = await docket(['cases', 'set', 'CASE-1', 'status=Under Review', '--set', 'assignee=kim', '--json']);
    expect([set.code, set.json()]).toEqual([
      0,
      expect.objectContaining({ status: 'Under Review', assignee: 'kim', version: 2 }),
    ]);
    const stale = await docket(['cases', 'set', 'CASE-1', '--unset', 'assignee', '--if-version', '1']);
    expect([stale.code, stale.stderr]).toEqual([
      1,
      expect.stringMatching(/^error: .*\(version_conflict, request \S+, http\S+\)\n$/),
    ]);
    expect((await docket(['cases', 'get', 'CASE-1'])).stdout).toMatch(/^assignee +kim$/m);
    const listed = await docket(['cases', 'list', '--sort=-caseId', '--limit', '2']);
    expect(listed.stdout.split('\n').map((line) => line.split(' ')[0])).toEqual(['caseId', 'CASE-2', 'CASE-1', '']);
    expect(listed.stderr).toContain('There are more than 2');
    const history = await docket(['cases', 'history', 'CASE-1']);
    expect(history.stdout).toMatch(/status: "In Progress" -> "Under Review", assignee: null -> "kim"/);
    expect((await docket(['orders', 'list', '--json'])).json()).toEqual([]);
  });

  it('lets no text of a record steer the terminal', async () => {
    await served.call('POST', '/api/v1/cases', { caseId: 'EVIL', title: '\u001b[2Jgone\nnext \u009b1m' });
    const { stdout } = await docket(['cases', 'list']);
    expect(stdout).toMatch(/EVIL .* \[2Jgone next {2}1m$/m);
    expect((await docket(['cases', 'get', 'EVIL'])).stdout).not.toContain('\u001b');
  });
});

describe('docket usage', () => {
  it('shows what was sent, plain where there is no terminal, or as JSON', async () => {
    await createCases(served, ids(2));
    const { month, days, total } = (await docket(['usage', '--json'])).json();
    expect(days.at(-1).items).toBeGreaterThanOrEqual(2);
    const { code, stdout } = await docket(['usage', '--month', month]);
    const [head, ...lines] = stdout.trimEnd().split('\n');
    expect([code, head]).toEqual([0, expect.stringMatching(/^DAY +BATCHES +ITEMS +CREDITS$/)]);
    expect(lines).toHaveLength(days.length + 1);
    expect(lines.at(-1)?.replaceAll(',', '').split(/ +/).slice(1).map(Number)).toEqual(Object.values(total));
    for (const mark of ['#', '\u001b']) expect(stdout).not.toContain(mark);
    const wrong = await docket(['usage', '--month', 'May']);
    expect([wrong.code, wrong.stdout, wrong.stderr]).toEqual([
      1,
      '',
      expect.stringContaining('"May" is no month. Write it as 20'),
    ]);
  });
});

describe('errors', () => {
  it('are one line that names the code, the request and what to do, and JSON where that is wanted', async () => {
    const missing = await docket(['cases', 'get', 'NONE']);
    expect([missing.code, missing.stdout]).toEqual([1, '']);
    expect(missing.stderr).toMatch(
      /^error: There is no record with caseId "NONE"\. \(not_found, request \S+, http\S+\)\n$/,
    );
    const asJson = await docket(['cases', 'get', 'NONE', '--json']);
    expect(JSON.parse(asJson.stderr)).toMatchObject({ error: { code: 'not_found', requestId: expect.any(String) } });
    const away = await command(['jobs', 'list'], { DOCKET_URL: 'http://127.0.0.1:1', DOCKET_API_KEY: 'key' });
    expect([away.code, away.stderr]).toEqual([1, expect.stringContaining('Is the server running there? DOCKET_URL')]);
    const verbose = await command(['jobs', 'list', '--verbose'], {
      DOCKET_URL: 'http://127.0.0.1:1',
      DOCKET_API_KEY: 'key',
    });
    expect(verbose.stderr).toContain('caused by');
    const noKey = await command(['jobs', 'list'], { DOCKET_URL: served.base });
    expect([noKey.code, noKey.stderr]).toEqual([1, expect.stringContaining('Set DOCKET_API_KEY')]);
    const badKey = await command(['jobs', 'list'], { DOCKET_URL: served.base, DOCKET_API_KEY: 'a-key-that-is-none' });
    expect(badKey.stderr).toContain('docket keys create');
    expect((await docket(['job', 'list'])).stderr).toContain('(Did you mean jobs?)');
  }, 60_000);
});
