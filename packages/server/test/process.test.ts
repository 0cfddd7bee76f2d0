import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const running = new Set<ChildProcess>();
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'docket-process-'));
});

afterAll(async () => {
  await Promise.all([...running].map(stop));
  await rm(directory, { recursive: true, force: true });
});

interface Started {
  child: ChildProcess;
  url: string;
  output(): string;
}

function launch(env: Record<string, string>): { child: ChildProcess; output(): string } {
  const child = spawn(process.execPath, ['--conditions=docket-source', main], {
    cwd: directory,
    env: {
      PATH: process.env.PATH ?? '',
      HOST: '127.0.0.1',
      PORT: '0',
      LOG_LEVEL: 'warn',
      DOCKET_DATA_DIR: 'data',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.on('exit', () => running.delete(child));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part) => (text += part));
  return { child, output: () => text };
}

async function start(env: Record<string, string> = {}): Promise<Started> {
  const { child, output } = launch(env);
  const url = await expect
    .poll(() => /^docket ready at (\S+)/m.exec(output())?.[1] ?? (child.exitCode === null ? undefined : output()), {
      timeout: 30_000,
    })
    .toMatch(/^http:/)
    .then(() => /^docket ready at (\S+)/m.exec(output())?.[1] as string);
  return { child, url, output };
}

async function stop(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  return (await exit)[0] as number | null;
}

it('prints a key and a call that works as pasted, stops cleanly, and keeps its data', async () => {
  const first = await start();
  await expect.poll(() => first.output()).toContain('Reference:');
  const text = first.output();
  expect(text.match(/ready/g)).toHaveLength(1);
  const key = /^ {2}(dk_\S+)$/m.exec(text)?.[1];
  const curl = /^curl [\s\S]*?\]'$/m.exec(text)?.[0] ?? '';
  const { stdout } = await promisify(execFile)('bash', ['-c', curl]);
  expect(JSON.parse(stdout)).toMatchObject({ updated: 3, failed: 0, summary: { succeeded: 3 } });
  expect(await stop(first.child)).toBe(0);

  const second = await start();
  const headers = { authorization: `Bearer ${key}` };
  const [id] = /INC\d+/.exec(curl) ?? [];
  const found = (await (await fetch(`${second.url}/api/v1/cases/${id}`, { headers })).json()) as { status: string };
  expect(curl).toContain(`{"caseId":"${id}","status":"${found.status}"}`);
  expect(second.output()).not.toContain('dk_');

  const port = new URL(second.url).port;
  const third = launch({ PORT: port, DOCKET_DATA_DIR: 'other', DOCKET_SEED: 'none' });
  expect((await once(third.child, 'exit'))[0]).toBe(1);
  expect(third.output().trim().split('\n')).toEqual([expect.stringContaining(`port ${port} on 127.0.0.1 is in use`)]);
  expect(await stop(second.child)).toBe(0);
}, 60_000);

it('does not print a key that it was given', async () => {
  const given = 'a-key-of-the-operator';
  const server = await start({
    DOCKET_ADMIN_KEY: given,
    DOCKET_DATA_DIR: 'given',
    DOCKET_SEED: 'none',
    DOCKET_ROLES: 'api',
  });
  await expect.poll(() => server.output()).toContain('Reference:');
  expect(server.output()).not.toContain(given);
  const response = await fetch(`${server.url}/api/v1/limits`, { headers: { 'x-api-key': given } });
  expect(response.status).toBe(200);
  expect(await stop(server.child)).toBe(0);
}, 60_000);

it('says in plain words why it does not start', async () => {
  const { child, output } = launch({ PORT: 'x', LOG_LEVEL: 'loud' });
  expect((await once(child, 'exit'))[0]).toBe(1);
  expect(output()).toContain('PORT is "x"');
  expect(output()).toContain('LOG_LEVEL is "loud"');
  expect(output()).not.toContain('    at ');
  const away = launch({ DATABASE_URL: 'postgres://127.0.0.1:1/none' });
  expect((await once(away.child, 'exit'))[0]).toBe(1);
  expect(away.output()).toContain('the database cannot be reached');
});
