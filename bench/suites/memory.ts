import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startEmbeddedPostgres } from '@docket/engine/embedded';
import pg from 'pg';
import { addCases, caseId, startServer } from '../environment.ts';
import { endOf } from '../requests.ts';
import type { Report } from '../statistics.ts';

/** What the server's memory was at most in one phase, above what it was when idle. In MiB. */
interface MemoryRow {
  items: number;
  phase: string;
  seconds: number;
  idle: number;
  growth: number;
}

const sampleMs = 100;
const mib = (kilobytes: number) => Math.round(kilobytes / 1024);

type Server = Awaited<ReturnType<typeof startServer>>;

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

/** The greatest resident set while the work lasts, in kB. */
async function peakDuring(pid: number, work: () => Promise<void>): Promise<number> {
  let peak = await rssOf(pid);
  let done = false;
  const sampling = (async () => {
    while (!done) {
      await delay(sampleMs);
      peak = Math.max(peak, await rssOf(pid));
    }
  })();
  try {
    await work();
  } finally {
    done = true;
  }
  await sampling;
  return peak;
}

const update = '/api/v1/cases/bulk-update';

function* lines(type: string, items: number, title: string): Generator<string> {
  const csv = type === 'text/csv';
  const part: string[] = csv ? ['caseId,title,ref\n'] : [];
  for (let n = 0; n < items; n++) {
    const id = caseId(n);
    part.push(csv ? `${id},${title} ${n},row ${n}\n` : `{"caseId":"${id}","title":"${title} ${n}","ref":"row ${n}"}\n`);
    if (part.length >= 500) yield part.splice(0).join('');
  }
  yield part.join('');
}

async function upload({ url, headers }: Server, type: string, items: number, title: string): Promise<string> {
  const response = await fetch(url + update, {
    method: 'POST',
    headers: { ...headers, 'content-type': type },
    body: ReadableStream.from(bytesOf(lines(type, items, title))),
    duplex: 'half',
  } as RequestInit);
  const job = (await response.json()) as { jobId: string };
  if (response.status !== 202) throw new Error(`The upload was answered ${response.status}: ${JSON.stringify(job)}`);
  return job.jobId;
}

async function* bytesOf(parts: Iterable<string>): AsyncGenerator<Uint8Array> {
  const utf8 = new TextEncoder();
  for (const part of parts) yield utf8.encode(part);
}

async function download({ url, headers }: Server, path: string, accept: string): Promise<void> {
  const response = await fetch(url + path, { headers: { ...headers, accept } });
  if (!response.ok || !response.body) throw new Error(`${path} was answered ${response.status}.`);
  for await (const _ of response.body);
}

async function readPages({ url, headers }: Server, jobId: string): Promise<void> {
  let cursor = '';
  do {
    const response = await fetch(`${url}/api/v1/jobs/${jobId}/results?limit=1000${cursor}`, { headers });
    const { nextCursor } = (await response.json()) as { nextCursor: string | null };
    cursor = nextCursor === null ? '' : `&cursor=${nextCursor}`;
  } while (cursor !== '');
}

/** Some of every kind of request, so that idle is what a server is that has been used. */
async function warmUp(server: Server): Promise<void> {
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 200; n++) await download(server, `/api/v1/cases/${caseId(n)}`, 'application/json');
    for (const type of ['application/x-ndjson', 'text/csv']) {
      const jobId = await upload(server, type, 2_000, `warm ${round} ${type}`);
      await endOf(server, jobId);
      for (const accept of ['application/json', 'application/x-ndjson', 'text/csv'])
        await download(server, `/api/v1/jobs/${jobId}/results`, accept);
    }
  }
  // why: garbage of the start is not what idle is
  for (let seconds = 0, before = 0; seconds < 60; seconds += 5) {
    await delay(5_000);
    const now = await rssOf(server.pid);
    if (seconds >= 10 && Math.abs(now - before) < 1_024) return;
    before = now;
  }
}

async function measure(server: Server, items: number): Promise<MemoryRow[]> {
  await warmUp(server);
  const idle = await rssOf(server.pid);
  const rows: MemoryRow[] = [];
  const phase = async (name: string, work: () => Promise<void>) => {
    const started = performance.now();
    const peak = await peakDuring(server.pid, work);
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    rows.push({ items, phase: name, seconds, idle: mib(idle), growth: mib(peak - idle) });
  };
  let jobId = '';
  for (const type of ['application/x-ndjson', 'text/csv']) {
    await phase(`upload, ${type}`, async () => {
      jobId = await upload(server, type, items, `${type} of ${items}`);
    });
    await phase('run', () => endOf(server, jobId));
  }
  const results = `/api/v1/jobs/${jobId}/results`;
  for (const accept of ['application/x-ndjson', 'text/csv'])
    await phase(`results, ${accept}`, () => download(server, results, accept));
  await phase('results, pages of 1,000', () => readPages(server, jobId));
  return rows;
}

const sizes = [100_000, 1_000_000];
const mostMib = 64;

/** Uploads, runs and reads back jobs of growing size, each with a server process of its own. */
export async function memory(): Promise<Report> {
  const dataDir = await mkdtemp(join(tmpdir(), 'docket-bench-'));
  const postgres = await startEmbeddedPostgres({ dataDir });
  const rows: MemoryRow[] = [];
  try {
    for (const [at, size] of sizes.entries()) {
      const server = await startServer(postgres.url);
      try {
        if (at === 0) await loadCases(postgres.url, Math.max(...sizes));
        rows.push(...(await measure(server, size)));
      } finally {
        await server.stop();
      }
    }
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
  return {
    rows: rows.map(({ items, phase, idle, growth }) => ({
      what: `memory, ${items.toLocaleString('en')} items: ${phase}`,
      measured: `+${growth} MiB`,
      comparedWith: `${idle} MiB (idle)`,
      ratio: null,
      target: `<= +${mostMib} MiB`,
      met: growth <= mostMib,
    })),
  };
}

async function loadCases(databaseUrl: string, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await addCases(client, 'default', count);
  await client.end();
}
