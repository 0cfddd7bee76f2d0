import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, type Environment, readConfig } from '../src/config.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'docket-config-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const problemsOf = async (env: Environment) =>
  await readConfig(env, directory).then(
    () => '',
    (error: unknown) => {
      if (error instanceof ConfigError) return error.message;
      throw error;
    },
  );

describe('the configuration', () => {
  it('has a default for everything', async () => {
    expect(await readConfig({}, directory)).toEqual({
      host: '127.0.0.1',
      port: 3000,
      databaseUrl: undefined,
      dataDir: join(directory, '.docket'),
      adminKey: undefined,
      roles: new Set(['api', 'worker']),
      seed: undefined,
      logLevel: 'info',
      webhooksAllowPrivate: false,
      secretsKeys: [],
      settings: {},
    });
  });

  it('takes an empty variable for one that is not set', async () => {
    expect((await readConfig({ PORT: '', DATABASE_URL: ' ' }, directory)).port).toBe(3000);
  });

  it('names every problem at once', async () => {
    const problems = await problemsOf({
      PORT: '70000',
      LOG_LEVEL: 'loud',
      DOCKET_ROLES: 'api,cook',
      DOCKET_ADMIN_KEY: 'short',
      DOCKET_SEED: 'cats',
      DATABASE_URL: 'mysql://x',
    });
    for (const words of [
      'PORT',
      'LOG_LEVEL',
      '"cook"',
      'DOCKET_ADMIN_KEY must have 16',
      'DOCKET_SEED',
      'DATABASE_URL',
    ]) {
      expect(problems).toContain(words);
    }
    expect(problems).not.toContain('short');
  });

  it('reads settings from a file, and refuses those that do not exist', async () => {
    writeFileSync(join(directory, 'good.mjs'), 'export default { limits: { bodyItems: 50 }, workers: 1 };');
    writeFileSync(
      join(directory, 'bad.mjs'),
      'export default { limits: { bodyItem: 50 }, colour: 1, workers: 0, publicUrl: "x", corsOrigins: ["*"], credits: { items: 1 } };',
    );
    const { settings } = await readConfig({ DOCKET_CONFIG: 'good.mjs' }, directory);
    expect(settings).toEqual({ limits: { bodyItems: 50 }, workers: 1 });
    const problems = await problemsOf({ DOCKET_CONFIG: 'bad.mjs' });
    for (const words of ['"bodyItem"', '"colour"', '`workers`', '`publicUrl`', '`corsOrigins`', '`credits` must'])
      expect(problems).toContain(words);
    expect(await problemsOf({ DOCKET_CONFIG: 'missing.mjs' })).toContain('cannot be loaded');
  });
});
