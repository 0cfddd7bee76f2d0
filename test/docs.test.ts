import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { adminKey, type ServerProcess, ServerProcesses } from '../packages/server/test/server-processes.ts';
import { createDatabase } from './database.ts';

/*
 * The examples of the READMEs, docs/*.md and docs/guides/*.md are run as they stand, in a folder of their own, against a server with the
 * sample data: each `sh` block in order, with the `docket` command of this checkout, and a `json` or `text` block right behind it is what
 * it must print; then the `ts` blocks that use the client as one module, which must print what the comments behind `console.log` say.
 * A member "..." in `json` stands for those that are left out. An id that was shown stands, in later examples, for the real one.
 */

const run = promisify(execFile);
const root = new URL('../', import.meta.url);
/** An example that waits in vain is ended, before its test is. */
const longestMs = 20_000;

interface Example {
  script: string;
  output: Block | undefined;
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
    const shown = next?.language === 'json' || next?.language === 'text';
    return [{ script: content, output: shown ? next : undefined }];
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

async function runModule(code: string, server: ServerProcess, folder: string): Promise<string[]> {
  const path = fileURLToPath(new URL(`client-example-${process.pid}.ts`, import.meta.url));
  await writeFile(path, code);
  const env = { ...process.env, DOCKET_URL: server.url, DOCKET_API_KEY: adminKey };
  const check = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024'];
  const types = ['--lib', 'es2024,dom,dom.iterable,dom.asynciterable', '--types', 'node', '--skipLibCheck'];
  const sources = ['--customConditions', 'docket-source', '--allowImportingTsExtensions'];
  try {
    const compiler = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root));
    const { stdout: problems } = await run(process.execPath, [compiler, ...check, ...types, ...sources, path]).catch(
      (error: { stdout: string }) => error,
    );
    expect(problems).toBe('');
    const { stdout } = await run(process.execPath, ['--conditions=docket-source', path], {
      env,
      cwd: folder,
      timeout: longestMs,
    });
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

const anId = /(job|wh|msg)_[0-9a-f]{32}/g;

/** Ids, times, secrets and cursors differ from run to run; what they are is checked elsewhere. Columns are as wide as a time. */
function masked(value: unknown): unknown {
  if (typeof value === 'string') {
    return value
      .replace(anId, '$1_')
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time')
      .replace(/whsec_[\w+/=]+/g, 'whsec_')
      .replace(/ {2,}/g, '  ')
      .replaceAll('\r\n', '\n');
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

/** What was printed, without the members that `shown` leaves out where it has a member "...". */
function shortened(printed: unknown, shown: unknown): unknown {
  if (Array.isArray(printed) && Array.isArray(shown)) return printed.map((value, at) => shortened(value, shown[at]));
  if (!isObject(printed) || !isObject(shown)) return printed;
  const members = Object.entries(printed).filter(([name]) => name in shown || !('...' in shown));
  const left = Object.fromEntries(members.map(([name, value]) => [name, shortened(value, shown[name])]));
  return '...' in shown ? { ...left, '...': shown['...'] } : left;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Compares what an example printed with what the file shows, and learns which real ids the shown ones stand for. */
function compare(stdout: string, { language, content }: Block, script: string, ids: Map<string, string>): void {
  const shown: unknown = language === 'json' ? JSON.parse(content) : content.trim();
  const printed = language === 'json' ? shortened(JSON.parse(stdout), shown) : stdout.trim();
  expect(masked(printed), script).toEqual(masked(shown));
  const real = idsOf(printed);
  for (const [at, id] of idsOf(shown).entries()) ids.set(id, real[at] as string);
}

/** In the order of the names of members, so that it is the same for equal values. */
function idsOf(value: unknown): string[] {
  if (typeof value === 'string') return value.match(anId) ?? [];
  if (Array.isArray(value)) return value.flatMap(idsOf);
  if (!isObject(value)) return [];
  return Object.keys(value)
    .sort()
    .flatMap((name) => idsOf(value[name]));
}

const files = [
  'README.md',
  'packages/client/README.md',
  ...(await readdir(new URL('docs/', root), { recursive: true })).map((file) => `docs/${file}`),
].filter((file) => file.endsWith('.md'));

const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
);

describe.each(files)('%s', async (file) => {
  const blocks = await blocksOf(file);
  const examples = examplesOf(blocks);
  const code = moduleOf(blocks);
  const processes = new ServerProcesses();
  let database: Awaited<ReturnType<typeof createDatabase>> | undefined;
  let server: ServerProcess;
  let folder: string;
  const ids = new Map<string, string>();
  const real = (text: string) =>
    text.replaceAll('http://127.0.0.1:3000', server.url).replaceAll(anId, (id) => ids.get(id) ?? id);
  beforeAll(async () => {
    folder = await makeFolder();
    if (examples.length === 0 && !code) return;
    database = await createDatabase();
    server = await processes.start({
      DATABASE_URL: database.url,
      DOCKET_ADMIN_KEY: adminKey,
      DOCKET_SEED: 'incidents',
      DOCKET_WEBHOOKS_ALLOW_PRIVATE: 'true',
    });
  });
  afterAll(async () => {
    await processes.clear();
    await database?.drop();
    await rm(folder, { recursive: true, force: true });
  });

  test.skipIf(!hasCurl)('shows what really happens', async () => {
    for (const { script, output } of examples) {
      const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', real(script)], {
        cwd: folder,
        timeout: longestMs,
        env: {
          ...process.env,
          PATH: `${folder}${delimiter}${process.env.PATH}`,
          KEY: adminKey,
          DOCKET_URL: server.url,
          DOCKET_API_KEY: adminKey,
        },
      });
      if (output) compare(stdout.replaceAll(server.url, 'http://127.0.0.1:3000'), output, script, ids);
      else expect(JSON.parse(stdout), script).not.toHaveProperty('type');
    }
  });

  test.runIf(code)('shows TypeScript that compiles and prints what it says', async () => {
    expect(await runModule(real(code as string), server, folder)).toEqual(printedBy(code as string));
  });
});
