import { access, constants, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createProgram } from '../src/cli/program.ts';
import { docket } from './docket-command.ts';
import { adminKey, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
afterEach(() => processes.clear(), 60_000);

async function withDatabase(work: (env: Record<string, string>) => Promise<void>): Promise<void> {
  const database = await createDatabase();
  try {
    await work({ DATABASE_URL: database.url });
  } finally {
    await processes.clear();
    await database.drop();
  }
}

describe('docket migrate, keys and doctor', () => {
  it('bring up a database, let somebody in, and find out what is wrong', async () => {
    await withDatabase(async (env) => {
      const early = await docket(['keys', 'list'], env);
      expect([early.code, early.stderr]).toEqual([1, expect.stringContaining('Make them: docket migrate')]);
      const behind = await docket(['doctor', '--json'], { ...env, DOCKET_URL: 'http://127.0.0.1:1' });
      expect(behind.code).toBe(1);
      const found = (ran: typeof behind, name: string) =>
        ran.json().checks.find((check: { name: string }) => check.name === name);
      expect(found(behind, 'server')).toMatchObject({
        state: 'wrong',
        remedy: expect.stringContaining('docket serve'),
      });
      expect(found(behind, 'database')).toMatchObject({
        state: 'wrong',
        remedy: expect.stringContaining('docket migrate'),
      });

      expect((await docket(['migrate', '--json'], env)).json().applied).toContain('0001_jobs_and_changes.sql');
      expect((await docket(['migrate'], env)).stdout).toBe('The database is up to date already.\n');
      const made = await docket(['keys', 'create', 'kim', '--tenant', 'acme', '--expires', '90d'], env);
      const key = made.stdout.trim();
      expect([made.code, key]).toEqual([0, expect.stringMatching(/^dk_\S+$/)]);

      const server = await processes.start({ ...env, DOCKET_ADMIN_KEY: adminKey });
      const client = { ...env, DOCKET_URL: server.url, DOCKET_API_KEY: key };
      const well = await docket(['doctor'], client);
      expect([well.code, well.stderr]).toEqual([0, '']);
      expect(well.stdout).toMatch(/^good +key +is in force$/m);
      expect(well.stdout).toMatch(/^good +database +PostgreSQL \d+.*, up to date$/m);

      const listed = (await docket(['keys', 'list', '--tenant', 'acme', '--json'], env)).json();
      expect(listed).toEqual([expect.objectContaining({ name: 'kim', hint: key.slice(-4), state: 'in force' })]);
      const revoke = () => docket(['keys', 'revoke', listed[0].keyId, '--tenant', 'acme'], env);
      expect((await revoke()).code).toBe(0);
      expect(await revoke()).toMatchObject({ code: 1, stderr: expect.stringContaining('no key') });
      await expect
        .poll(async () => (await docket(['doctor', '--json'], client)).json().ok, { timeout: 15_000 })
        .toBe(false);
      expect((await docket(['keys', 'list', '--tenant', 'acme'], env)).stdout).toMatch(/kim .* revoked/);
    });
  }, 90_000);

  it('keys reaches the embedded database while a server runs on it, and when none does', async () => {
    const dataDir = join(await processes.directory(), 'data');
    const none = await docket(['keys', 'list'], { DOCKET_DATA_DIR: dataDir });
    expect([none.code, none.stderr]).toEqual([1, expect.stringContaining(`There is no database in ${dataDir}`)]);
    const server = await processes.start({ DOCKET_ADMIN_KEY: adminKey, DOCKET_SEED: 'none' });
    const made = await docket(['keys', 'create', 'kim'], { DOCKET_DATA_DIR: dataDir });
    const asked = await docket(['cases', 'list', '--json'], {
      DOCKET_URL: server.url,
      DOCKET_API_KEY: made.stdout.trim(),
    });
    expect([asked.code, asked.json()]).toEqual([0, []]);
    expect(await server.stop()).toBe(0);
    const stopped = await docket(['keys', 'list', '--json'], { DOCKET_DATA_DIR: dataDir });
    expect(stopped.json().map(({ name }: { name: string }) => name)).toEqual(['admin', 'kim']);
  }, 60_000);

  it('doctor tells other versions, clocks and programs', async () => {
    let version = '9.0.0';
    let name = 'Docket';
    const other = createServer((request, response) => {
      response.sendDate = false;
      response.setHeader('date', new Date(Date.now() - 600_000).toUTCString());
      response.statusCode = request.url === '/readyz' ? 503 : 200;
      response.end(JSON.stringify({ name, version }));
    }).listen(0, '127.0.0.1');
    try {
      await new Promise((resolve) => other.once('listening', resolve));
      const env = { DOCKET_URL: `http://127.0.0.1:${(other.address() as AddressInfo).port}`, DOCKET_API_KEY: 'a-key' };
      const { code, stdout } = await docket(['doctor'], env);
      expect(code).toBe(1);
      expect(stdout).toMatch(/^wrong +ready +\/readyz says 503$/m);
      expect(stdout).toMatch(/^wrong +version +9\.0\.0; this command: /m);
      expect(stdout).toMatch(/^wrong +clock +60\d s ahead of the server's$/m);
      name = 'Something';
      version = '';
      expect((await docket(['doctor'], env)).stdout).toContain('is no Docket server');
      expect((await docket(['doctor'], { ...env, PORT: 'x' })).stdout).toMatch(/^wrong +configuration +PORT is "x"/m);
    } finally {
      other.close();
    }
  }, 30_000);
});

it('the command is a file that is there before anything is built, so that npm links it', async () => {
  const { bin } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
  expect(bin.docket).not.toContain('dist');
  await access(new URL(`../${bin.docket}`, import.meta.url), constants.X_OK);
});

describe('docket --help', () => {
  it('says of each command what it does, with examples', () => {
    const told: string[] = [];
    const walk = (command: ReturnType<typeof createProgram>, path: string) => {
      for (const one of command.commands) {
        if (['help', 'complete'].includes(one.name())) continue;
        const own = `${path} ${one.name()}`;
        expect(one.description(), own).not.toBe('');
        if (one.commands.length > 0) {
          walk(one, own);
          continue;
        }
        let text = '';
        one.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
        expect(text, own).toContain(`\nExamples:\n`);
        expect(text, own).toContain(own);
        told.push(own);
      }
    };
    walk(createProgram(), 'docket');
    expect(told.length).toBeGreaterThan(30);
  });

  it('completes commands and options in shells', async () => {
    const script = await docket(['completion', 'bash']);
    expect([script.code, script.stdout]).toEqual([0, expect.stringContaining('complete -F')]);
    expect((await docket(['completion', 'tcsh'])).code).toBe(1);
    const suggested = async (...words: string[]) =>
      (await docket(['complete', '--', ...words])).stdout.split('\n').map((line) => line.split('\t')[0]);
    expect(await suggested('')).toEqual(expect.arrayContaining(['update', 'import', 'jobs', 'usage', 'doctor']));
    expect(await suggested('jobs', 'w')).toContain('watch');
    expect(await suggested('webhooks', 'create', '--envelope', '')).toEqual(
      expect.arrayContaining(['standard', 'cloudevents']),
    );
    // why: `:0` lets the shell complete the names of files
    expect(script.stdout).toContain('complete -o default -F __docket_complete docket\n');
    for (const words of [
      ['import', ''],
      ['import', '--create', 'ca'],
    ])
      expect(await suggested(...words)).toEqual([':0', '']);
    expect(await suggested('import', '--format', '')).toContain('ndjson');
    expect(await suggested('import', '--label', '')).not.toContain(':0');
    expect(await suggested('update', '--')).toEqual(expect.arrayContaining(['--where', '--set', '--yes']));
  });
});
