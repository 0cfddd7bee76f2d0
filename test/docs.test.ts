import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startThrowAwayServer, type ThrowAwayServer } from '../packages/server/src/demo/throw-away-server.ts';

/*
 * The examples of the READMEs and docs/*.md are run as they stand, in a folder of their own, against a server with the sample data: each
 * `sh` block in order, with the `docket` command of this checkout, and a `json` block right behind it is what it must print; the `ts` blocks that use the client as one module, which must print
 * what the comments behind `console.log` say.
 */

const run = promisify(execFile);
const root = new URL('../', import.meta.url);

interface Example {
  script: string;
  output: unknown;
}

interface Block {
  language: string;
  content: string;
}

async function blocksOf(file: string): Promise<Block[]> {
  const text = await readFile(new URL(file, root), 'utf8');
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', content = '']) => ({
    language,
    content,
  }));
}

function examplesOf(blocks: readonly Block[]): Example[] {
  return blocks.flatMap(({ language, content }, at) => {
    if (language !== 'sh') return [];
    const next = blocks[at + 1];
    return [{ script: content, output: next?.language === 'json' ? JSON.parse(next.content) : undefined }];
  });
}

/** The TypeScript of a file about the client, as one module; undefined for other files. */
function moduleOf(blocks: readonly Block[]): string | undefined {
  const code = blocks.filter(({ language }) => language === 'ts').map(({ content }) => content);
  return code.some((block) => block.includes("'@docket/client'")) ? code.join('\n') : undefined;
}

/** What the comments behind `console.log` say that it prints, on its line or on lines of their own. */
function printedBy(code: string): string[] {
  const lines = [...code.matchAll(/console\.log\(.*\); \/\/ (.+)$|^ +\/\/ (.+)$/gm)];
  return lines.map(([, behind, below]) => behind ?? below ?? '');
}

async function runModule(code: string, server: ThrowAwayServer): Promise<string[]> {
  const path = fileURLToPath(new URL(`client-example-${process.pid}.ts`, import.meta.url));
  await writeFile(path, code.replaceAll('http://127.0.0.1:3000', server.url));
  const env = { ...process.env, DOCKET_URL: server.url, DOCKET_API_KEY: server.apiKey };
  const check = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024'];
  const types = ['--lib', 'es2024,dom,dom.iterable,dom.asynciterable', '--types', 'node', '--skipLibCheck'];
  const sources = ['--customConditions', 'docket-source', '--allowImportingTsExtensions'];
  try {
    const compiler = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root));
    const { stdout: problems } = await run(process.execPath, [compiler, ...check, ...types, ...sources, path]).catch(
      (error: { stdout: string }) => error,
    );
    expect(problems).toBe('');
    const { stdout } = await run(process.execPath, ['--conditions=docket-source', path], { env });
    return stdout.trimEnd().split('\n');
  } finally {
    await rm(path);
  }
}

/** A folder with the `docket` command of this checkout in it. */
async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'docket-docs-'));
  const main = fileURLToPath(new URL('packages/server/src/main.ts', root));
  const path = join(folder, 'docket');
  await writeFile(path, `#!/bin/sh\nexec "${process.execPath}" --conditions=docket-source "${main}" "$@"\n`);
  await chmod(path, 0o755);
  return folder;
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

const files = [
  'README.md',
  'packages/client/README.md',
  ...(await readdir(new URL('docs/', root))).map((file) => `docs/${file}`),
].filter((file) => file.endsWith('.md'));

const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
);

describe.each(files)('%s', async (file) => {
  const blocks = await blocksOf(file);
  const examples = examplesOf(blocks);
  const code = moduleOf(blocks);
  let server: ThrowAwayServer;
  let folder: string;
  beforeAll(async () => {
    folder = await makeFolder();
    if (examples.length > 0 || code) server = await startThrowAwayServer();
  });
  afterAll(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test.skipIf(!hasCurl)('shows what really happens', async () => {
    for (const { script, output } of examples) {
      const { stdout } = await run(
        'bash',
        ['-euo', 'pipefail', '-c', script.replaceAll('http://127.0.0.1:3000', server.url)],
        {
          cwd: folder,
          env: {
            ...process.env,
            PATH: `${folder}${delimiter}${process.env.PATH}`,
            KEY: server.apiKey,
            DOCKET_URL: server.url,
            DOCKET_API_KEY: server.apiKey,
          },
        },
      );
      const answer = JSON.parse(stdout) as Record<string, unknown>;
      expect(answer, script).not.toHaveProperty('type');
      if (output !== undefined) expect(masked(answer), script).toEqual(masked(output));
    }
  });

  test.runIf(code)('shows TypeScript that compiles and prints what it says', async () => {
    expect(await runModule(code as string, server)).toEqual(printedBy(code as string));
  });
});
