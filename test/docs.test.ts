import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startThrowAwayServer, type ThrowAwayServer } from '../packages/server/demo/throw-away-server.ts';

/*
 * The examples of README.md and docs/*.md are run as they stand: each `sh` block against a server with the sample data, in
 * order; a `json` block right behind it is what it must print.
 */

const run = promisify(execFile);
const root = new URL('../', import.meta.url);

interface Example {
  script: string;
  output: unknown;
}

async function examplesOf(file: string): Promise<Example[]> {
  const text = await readFile(new URL(file, root), 'utf8');
  const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language, content]) => ({
    language,
    content,
  }));
  return blocks.flatMap((block, at) => {
    if (block.language !== 'sh') return [];
    const next = blocks[at + 1];
    return [
      {
        script: block.content as string,
        output: next?.language === 'json' ? JSON.parse(next.content as string) : undefined,
      },
    ];
  });
}

/** Ids, times and cursors differ from run to run; what they are is checked elsewhere. */
function masked(value: unknown): unknown {
  if (typeof value === 'string') {
    return value.replace(/job_[0-9a-f]{32}/g, 'job_').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time');
  }
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      name === 'nextCursor' && member !== null ? 'cursor' : masked(member),
    ]),
  );
}

const files = ['README.md', ...(await readdir(new URL('docs/', root))).map((file) => `docs/${file}`)].filter((file) =>
  file.endsWith('.md'),
);

const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
);

describe.each(files)('%s', async (file) => {
  const examples = await examplesOf(file);
  let server: ThrowAwayServer;
  beforeAll(async () => {
    if (examples.length > 0) server = await startThrowAwayServer();
  });
  afterAll(() => server?.stop());

  test.skipIf(!hasCurl)('shows what really happens', async () => {
    for (const { script, output } of examples) {
      const { stdout } = await run(
        'bash',
        ['-euo', 'pipefail', '-c', script.replaceAll('http://127.0.0.1:3000', server.url)],
        {
          env: { ...process.env, KEY: server.apiKey },
        },
      );
      const answer = JSON.parse(stdout) as Record<string, unknown>;
      expect(answer, script).not.toHaveProperty('type');
      if (output !== undefined) expect(masked(answer), script).toEqual(masked(output));
    }
  });
});
