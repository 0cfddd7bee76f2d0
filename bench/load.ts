import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import autocannon from 'autocannon';

const run = promisify(execFile);

export interface LoadParams {
  url: string;
  paths: readonly string[];
  headers: Record<string, string>;
  connections: number;
  seconds: number;
}

/** Requests per second over many connections: by wrk where it is installed (it takes little of the machine), else by autocannon. */
export async function requestsPerSecond(params: LoadParams): Promise<{ rate: number; by: string }> {
  return (await hasWrk())
    ? { rate: await byWrk(params), by: 'wrk' }
    : { rate: await byAutocannon(params), by: 'autocannon' };
}

async function hasWrk(): Promise<boolean> {
  return await run('wrk', ['-v']).then(
    () => true,
    (error: { code?: unknown }) => error.code !== 'ENOENT',
  );
}

async function byWrk({ url, paths, headers, connections, seconds }: LoadParams): Promise<number> {
  const script = join(tmpdir(), `docket-bench-${process.pid}.lua`);
  const setHeaders = Object.entries(headers).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  );
  await writeFile(
    script,
    `local paths = {${paths.map((path) => JSON.stringify(path)).join(',')}}
local at = 0
${setHeaders.join('\n')}
request = function() at = at % #paths + 1; return wrk.format("GET", paths[at]) end`,
  );
  const { stdout } = await run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, url]);
  if (/Non-2xx/.test(stdout)) throw new Error(`wrk met errors:\n${stdout}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}

async function byAutocannon({ url, paths, headers, connections, seconds }: LoadParams): Promise<number> {
  const requests = paths.map((path) => ({ method: 'GET' as const, path, headers }));
  const result = await autocannon({ url, connections, duration: seconds, requests });
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} answers were no success, ${result.errors} failed.`);
  return result.requests.average;
}
