import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { adminKey, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
afterEach(() => processes.clear(), 60_000);

it('prints a key and a call that works as pasted, stops cleanly, and keeps its data', async () => {
  const first = await processes.start();
  await expect.poll(() => first.output()).toContain('Reference:');
  const text = first.output();
  expect(text.match(/ready/g)).toHaveLength(1);
  const key = /^ {2}(dk_\S+)$/m.exec(text)?.[1];
  const curl = /^curl [\s\S]*?\]'$/m.exec(text)?.[0] ?? '';
  const { stdout } = await promisify(execFile)('bash', ['-c', curl]);
  expect(JSON.parse(stdout)).toMatchObject({ updated: 3, failed: 0, summary: { succeeded: 3 } });
  expect(await first.stop()).toBe(0);

  const second = await processes.start();
  const headers = { authorization: `Bearer ${key}` };
  const [id] = /INC\d+/.exec(curl) ?? [];
  const found = (await (await fetch(`${second.url}/api/v1/cases/${id}`, { headers })).json()) as { status: string };
  expect(curl).toContain(`{"caseId":"${id}","status":"${found.status}"}`);
  expect(second.output()).not.toContain('dk_');

  const port = new URL(second.url).port;
  const third = await processes.launch({ PORT: port, DOCKET_DATA_DIR: 'other', DOCKET_SEED: 'none' });
  expect(await third.exited).toBe(1);
  expect(third.output().trim().split('\n')).toEqual([expect.stringContaining(`port ${port} on 127.0.0.1 is in use`)]);
  expect(await second.stop()).toBe(0);
}, 60_000);

it('does not print a key that it was given', async () => {
  const given = 'a-key-of-the-operator';
  const server = await processes.start({
    DOCKET_ADMIN_KEY: given,
    DOCKET_DATA_DIR: 'given',
    DOCKET_SEED: 'none',
    DOCKET_ROLES: 'api',
  });
  await expect.poll(() => server.output()).toContain('Reference:');
  expect(server.output()).not.toContain(given);
  const response = await fetch(`${server.url}/api/v1/limits`, { headers: { 'x-api-key': given } });
  expect(response.status).toBe(200);
  expect(await server.stop()).toBe(0);
}, 60_000);

it('says in plain words why it does not start', async () => {
  const { exited, output } = await processes.launch({ PORT: 'x', LOG_LEVEL: 'loud' });
  expect(await exited).toBe(1);
  expect(output()).toContain('PORT is "x"');
  expect(output()).toContain('LOG_LEVEL is "loud"');
  expect(output()).not.toContain('    at ');
  const away = await processes.launch({ DATABASE_URL: 'postgres://127.0.0.1:1/none' });
  expect(await away.exited).toBe(1);
  expect(away.output()).toContain('the database cannot be reached');
});

it('does not start on a data directory that another server uses, and leaves that one alone', async () => {
  const env = { DOCKET_ADMIN_KEY: adminKey, DOCKET_SEED: 'none', DOCKET_DATA_DIR: 'shared' };
  const first = await processes.start(env);
  const created = await first.call('POST', '/api/v1/cases', { caseId: 'KEPT', title: 'Kept' });
  expect(created.status).toBe(201);

  const second = await processes.launch(env);
  expect(await second.exited).toBe(1);
  const [told, ...more] = second.output().trim().split('\n');
  expect(more).toEqual([]);
  expect(told).toContain(`${join(await processes.directory(), 'shared')} is in use by process ${first.child.pid}`);
  for (const way of ['Stop that process', 'DOCKET_DATA_DIR', 'DATABASE_URL']) expect(told).toContain(way);

  const { status, body } = await first.call('PATCH', '/api/v1/cases/KEPT', { title: 'Kept and changed' });
  expect([status, body.version]).toEqual([200, 2]);
  expect(first.output()).not.toContain('lost');
  expect(await first.stop()).toBe(0);
}, 60_000);
