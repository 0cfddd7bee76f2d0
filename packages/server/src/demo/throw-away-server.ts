import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface ThrowAwayServer {
  url: string;
  apiKey: string;
  stop(): Promise<void>;
}

// why: the same program is run as TypeScript in a checkout, and as JavaScript where it was built
const extension = extname(import.meta.filename);
const main = fileURLToPath(new URL(`../main${extension}`, import.meta.url));
const conditions = extension === '.ts' ? ['--conditions=docket-source'] : [];

/** A server of its own, in a process, a data directory and on a port of its own; `stop` leaves nothing behind. */
export async function startThrowAwayServer(): Promise<ThrowAwayServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'docket-demo-'));
  const apiKey = `demo-${randomBytes(16).toString('hex')}`;
  const child = spawn(process.execPath, [...conditions, main, 'serve'], {
    env: {
      PATH: process.env.PATH,
      DOCKET_DATA_DIR: dataDir,
      DOCKET_ADMIN_KEY: apiKey,
      DOCKET_SEED: 'incidents',
      LOG_LEVEL: 'warn',
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    const url = await new Promise<string>((resolve, reject) => {
      let output = '';
      child.stdout.on('data', (data: Buffer) => {
        output += data.toString();
        const found = /ready at (http:\S+)/.exec(output)?.[1];
        if (found) resolve(found);
      });
      void exited.then(([code]) => reject(new Error(`The server ended with code ${code}.\n${output}`)));
    });
    return { url, apiKey, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
