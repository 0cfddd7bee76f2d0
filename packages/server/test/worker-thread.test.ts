import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { adminKey, ServerProcesses } from './server-processes.ts';

const processes = new ServerProcesses();
afterAll(() => processes.clear());

/** Throws where nothing catches it, in the worker thread only, when the file `crash` is there. */
const config = `
  import { rmSync, statSync } from 'node:fs';
  import { isMainThread } from 'node:worker_threads';
  const crash = () => {
    if (!statSync('crash', { throwIfNoEntry: false })) return;
    rmSync('crash');
    throw new Error('a fault in the configuration');
  };
  if (!isMainThread) setInterval(crash, 5).unref();
  export default {};
`;

test('a worker thread that dies is started again; requests go on, and the job is applied once', async () => {
  const directory = await processes.directory();
  await writeFile(join(directory, 'docket.config.ts'), config);
  const server = await processes.start({ DOCKET_ADMIN_KEY: adminKey, DOCKET_SEED: 'none' });
  const ids = Array.from({ length: 20_000 }, (_, n) => `C-${n}`);
  const lines = ids.map((id) => `{"id":"${id}","fields":{"title":"A case"}}\n`).join('');
  const type = { 'content-type': 'application/x-ndjson' };
  const { body: job } = await server.call('POST', '/api/v1/cases/bulk-create', lines, type);
  await writeFile(join(directory, 'crash'), '');
  await waitUntil(() => server.output().includes('it is started again'), 'the thread died');
  expect(server.output()).toContain('a fault in the configuration');
  expect((await server.call('GET', '/healthz')).status).toBe(200);
  let status = await server.call('GET', `/api/v1/jobs/${job.jobId}/status`);
  expect(status.body.status).not.toBe('completed');
  await waitUntil(async () => {
    status = await server.call('GET', `/api/v1/jobs/${job.jobId}/status`);
    return status.body.outcome !== null;
  }, 'the job has ended');
  expect(status.body).toMatchObject({
    outcome: 'all_succeeded',
    summary: { total: ids.length, succeeded: ids.length },
  });
  const { items: changes } = (await server.call('GET', '/api/v1/cases/C-19999/history')).body;
  expect(changes).toHaveLength(1);
  expect(await server.stop()).toBe(0);
});

test('a worker thread that cannot start ends the start of the server, with the reason', async () => {
  const directory = await processes.directory();
  const broken = `import { isMainThread } from 'node:worker_threads';
    if (!isMainThread) throw new Error('a fault of the configuration');
    export default {};`;
  await writeFile(join(directory, 'broken.config.ts'), broken);
  const server = await processes.launch({ DOCKET_SEED: 'none', DOCKET_CONFIG: 'broken.config.ts' });
  expect(await server.exited).toBe(1);
  expect(server.output()).toContain('docket could not start');
  expect(server.output()).toContain('a fault of the configuration');
});

test('what the thread counts is told at /metrics', async () => {
  const server = await processes.start({ DOCKET_ADMIN_KEY: adminKey, DOCKET_SEED: 'none', DOCKET_DATA_DIR: 'counted' });
  const items = Array.from({ length: 300 }, (_, n) => ({ id: `C-${n}`, fields: { title: n % 3 ? 'A case' : '' } }));
  await server.call('POST', '/api/v1/cases/bulk-create', { items, options: { mode: 'async' } });
  await waitUntil(async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return (
      text.includes('docket_items_total{collection="cases",status="succeeded"} 200') &&
      text.includes('docket_items_total{collection="cases",status="failed"} 100')
    );
  }, 'the items are counted');
});
