import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import type { Served } from './served.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
// why: most of a start is to compile the same files once more
const compileCache = fileURLToPath(new URL('../../../node_modules/.cache/docket-command', import.meta.url));
const program = [process.execPath, '--conditions=docket-source', main] as const;

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Standard output as JSON, loosely typed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  json(): any;
}

type Environment = Readonly<Record<string, string>>;

/** Where a server is, for the command. */
export function environmentOf({ base, authorization }: Pick<Served, 'base' | 'authorization'>): Environment {
  return { DOCKET_URL: base, DOCKET_API_KEY: authorization.replace('Bearer ', '') };
}

/** Runs `docket` without a terminal, to its end. */
export async function docket(args: readonly string[], env: Environment = {}, input = ''): Promise<Ran> {
  const { child, ran } = startDocket(args, env);
  child.stdin?.end(input);
  return await ran;
}

/** Starts `docket` without a terminal. */
export function startDocket(
  args: readonly string[],
  env: Environment = {},
): { child: ChildProcess; output(): string; ran: Promise<Ran> } {
  const [node, ...rest] = program;
  const child = spawn(node, [...rest, ...args], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache, ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (part) => (stdout += part));
  child.stderr.on('data', (part) => (stderr += part));
  const ran = once(child, 'close').then(([code]) => ({ code, stdout, stderr, json: () => JSON.parse(stdout) }));
  return { child, output: () => stdout + stderr, ran };
}

export interface Terminal {
  /** All that was written so far, without what steers the terminal. */
  text(): string;
  /** The same with it. */
  raw(): string;
  /** Forgets what was written so far. */
  clear(): void;
  type(keys: string): void;
  exited: Promise<number | null>;
  /** Ends the terminal and all in it. */
  close(): Promise<void>;
}

export const ctrlC = '\u0003';

/** Runs `docket` on a terminal of its own, by `script` of util-linux. */
export function openTerminal(args: readonly string[], env: Environment = {}, columns = 100): Terminal {
  const command = [...program, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const child = spawn('script', ['-qec', `stty cols ${columns} rows 24; exec ${command}`, '/dev/null'], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache, TERM: 'xterm-256color', SHELL: '/bin/sh', ...env },
  });
  let written = '';
  child.stdout.on('data', (part) => (written += part));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return {
    text: () => stripVTControlCharacters(written),
    raw: () => written,
    clear: () => {
      written = '';
    },
    type: (keys) => child.stdin.write(keys),
    exited,
    close: async () => {
      child.kill('SIGHUP');
      await exited;
    },
  };
}
