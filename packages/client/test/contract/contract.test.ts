import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import createClient from 'openapi-fetch';
import openapiTS, { astToString } from 'openapi-typescript';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Served, serve } from '../../../server/test/served.ts';
import type { paths } from './openapi.ts';

/*
 * What a public generator makes of the running server's /openapi.json: the types of this folder are compared with it (`types.ts`) and
 * the calls below are checked against it, by the compiler; and the calls are made.
 */

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
const generated = fileURLToPath(new URL('openapi.ts', import.meta.url));
const compiler = fileURLToPath(new URL('../../../../node_modules/typescript/bin/tsc', import.meta.url));

let served: Served;
beforeAll(async () => {
  served = await serve();
  const { body } = await served.call('GET', '/openapi.json');
  await writeFile(generated, astToString(await openapiTS(body)));
});
afterAll(async () => {
  await served?.stop();
  await rm(generated, { force: true });
});

it("keeps the client's types and the server's the same", async () => {
  const { stdout } = await run(process.execPath, [compiler, '-p', here]).catch((error: { stdout: string }) => error);
  expect(stdout).toBe('');
});

it('lets a client that is generated from it call the server', async () => {
  const client = createClient<paths>({ baseUrl: served.base, headers: { authorization: served.authorization } });
  const created = await client.POST('/api/v1/cases/bulk-create', {
    body: { items: [{ caseId: 'G-1', title: 'Generated' }], options: { return: 'minimal' } },
  });
  expect(created.response.status).toBe(200);
  const updated = await client.PATCH('/api/v1/cases/bulk-update', {
    body: {
      updates: [
        { caseId: 'G-1', status: 'In Progress', assignee: null },
        { caseId: 'G-2', status: 'Closed' },
      ],
    },
  });
  expect(updated.data?.outcome).toBe('some_failed');
  const read = await client.GET('/api/v1/cases/{caseId}', { params: { path: { caseId: 'G-1' } } });
  const title: string | undefined = read.data?.title;
  expect([title, read.data?.version]).toEqual(['Generated', 2]);
  const results = await client.GET('/api/v1/jobs/{jobId}/results', {
    params: { path: { jobId: updated.data?.jobId ?? '' }, query: { status: 'failed', limit: 10 } },
  });
  const failed = (results.data as Exclude<typeof results.data, string | undefined>)?.items;
  expect(failed.map(({ error }) => error?.code)).toEqual(['not_found']);
  const missing = await client.GET('/api/v1/cases/{caseId}', { params: { path: { caseId: 'G-2' } } });
  const code: string | undefined = missing.error?.code;
  expect(code).toBe('not_found');
});
