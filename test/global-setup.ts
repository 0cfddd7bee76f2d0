import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../packages/engine/src/embedded/index.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    databaseUrl: string;
    faultRounds: 'short' | 'full';
  }
}

/** One PostgreSQL server for the whole run; each test file makes its own database on it. */
export default async function setup(project: TestProject) {
  const dataDir = await mkdtemp(join(tmpdir(), 'docket-test-'));
  const postgres = await startEmbeddedPostgres({ dataDir, postgresFlags: ['-c', 'max_connections=300'] });
  project.provide('databaseUrl', postgres.url);
  return async () => {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
}
