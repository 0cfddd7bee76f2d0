import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { Docket } from '@docket/client';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Served, serve } from '../../server/test/served.ts';

/* The client in a real page, which is served from another origin than the API: as modules, without a bundler. */

const executablePath = '/usr/bin/chromium';
const sources = new URL('../src/', import.meta.url);

declare global {
  // what the page gets from the client's modules
  var connect: (options: { baseUrl: string; apiKey: string }) => Docket;
}

/** A page that has `connect`, and the client's sources as modules. */
async function servePage(): Promise<Server> {
  const server = createServer(async ({ url = '/' }, response) => {
    const name = url.slice(1);
    if (name === '') {
      const script = `import { Docket } from './index.ts'; globalThis.connect = (options) => new Docket(options);`;
      response
        .setHeader('content-type', 'text/html')
        .end(`<title>Desk</title><script type="module">${script}</script>`);
    } else if (/^[a-z-]+\.ts$/.test(name) && existsSync(new URL(name, sources))) {
      const source = await readFile(new URL(name, sources), 'utf8');
      response.setHeader('content-type', 'text/javascript').end(stripTypeScriptTypes(source));
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

describe.skipIf(!existsSync(executablePath))('in a browser', () => {
  let pages: Server;
  let served: Served;
  let browser: Browser;
  let page: Page;
  let connection: { baseUrl: string; apiKey: string };

  beforeAll(async () => {
    pages = await servePage();
    const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
    served = await serve({ corsOrigins: [origin] });
    connection = { baseUrl: served.base, apiKey: served.authorization.replace('Bearer ', '') };
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
    page = await browser.newPage();
    await page.goto(origin);
    await page.waitForFunction(() => 'connect' in globalThis);
  });
  afterAll(async () => {
    await browser?.close();
    pages?.close();
    await served?.stop();
  });

  it('updates many cases at once, and reads what became of each', async () => {
    const seen = await page.evaluate(async (options) => {
      const docket = globalThis.connect(options);
      const created = await docket.cases.bulkCreate([{ caseId: 'B-1', title: 'From a page' }], { mode: 'sync' });
      const handle = await docket.cases.bulkUpdate([
        { caseId: 'B-1', status: 'In Progress' },
        { caseId: 'B-2', status: 'Closed' },
      ]);
      const { summary } = await handle.done();
      const failed: (string | undefined)[] = [];
      for await (const { error } of handle.failed()) failed.push(error?.code);
      const { status } = await docket.cases.get('B-1');
      return { created: created.end?.outcome, summary, failed, status };
    }, connection);
    expect(seen).toEqual({
      created: 'all_succeeded',
      summary: { total: 2, succeeded: 1, failed: 1, notProcessed: 0 },
      failed: ['not_found'],
      status: 'In Progress',
    });
  });

  it('sends large batches, follows their job, and reads its results page by page', async () => {
    const seen = await page.evaluate(async (options) => {
      const docket = globalThis.connect(options);
      const items = Array.from({ length: 2_500 }, (_, at) => ({ caseId: `L-${at}`, title: `Case ${at}` }));
      const handle = await docket.cases.bulkCreate(items, { gzip: true, label: 'from a page' });
      const states: string[] = [];
      const end = await handle.done({ onProgress: ({ status }) => states.push(status) });
      let index = 0;
      for await (const result of handle.results()) if (result.index === index && result.id === `L-${index}`) index++;
      return { outcome: end.outcome, inOrder: index, last: states.at(-1) };
    }, connection);
    expect(seen).toEqual({ outcome: 'all_succeeded', inOrder: 2_500, last: 'completed' });
  });

  it('tells a refusal with its request id, and a lost connection', async () => {
    const seen = await page.evaluate(async ({ baseUrl }) => {
      const told = async (options: { baseUrl: string; apiKey: string; maxRetries?: number }) => {
        try {
          await globalThis.connect(options).cases.get('B-1');
          return null;
        } catch (error) {
          const { name, code, requestId } = error as { name: string; code: string; requestId: string | null };
          return { name, code, hasId: requestId !== null };
        }
      };
      return [
        await told({ baseUrl, apiKey: 'a-wrong-key-of-length' }),
        await told({ baseUrl: 'http://127.0.0.1:1', apiKey: 'x', maxRetries: 0 }),
      ];
    }, connection);
    expect(seen).toEqual([
      { name: 'DocketError', code: 'unauthenticated', hasId: true },
      { name: 'NetworkError', code: 'network_error', hasId: false },
    ]);
  });
});
