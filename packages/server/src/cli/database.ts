import { createEngine, type Engine } from '@docket/engine';
import { findEmbeddedPostgres, startEmbeddedPostgres } from '@docket/engine/embedded';
import { readConfig } from '../config.ts';
import { CommandError } from './failure.ts';
import { writeError } from './output.ts';

interface Access {
  /** Make the embedded database where there is none. */
  create?: boolean;
}

/**
 * Works on the database that a server with this environment would use. An embedded one is reached while a server runs it, and else
 * run as long as the work takes. Throws CommandError where there is none.
 */
export async function withDatabase<Result>(
  work: (engine: Engine) => Promise<Result>,
  { create = false }: Access = {},
): Promise<Result> {
  const { databaseUrl, dataDir } = await readConfig(process.env, process.cwd());
  if (databaseUrl !== undefined) return await withEngine(databaseUrl, work);
  const found = await findEmbeddedPostgres(dataDir);
  if (found.state === 'running') return await withEngine(found.url, work);
  if (found.state === 'none' && !create) {
    throw new CommandError(
      `There is no database in ${dataDir}. Start the server once (\`docket serve\`), or say where it is with DATABASE_URL or DOCKET_DATA_DIR.`,
    );
  }
  const embedded = await startEmbeddedPostgres({ dataDir });
  try {
    return await withEngine(embedded.url, work);
  } finally {
    await embedded.stop();
  }
}

/** An engine on this database, which applies nothing. */
export async function withEngine<Result>(
  databaseUrl: string,
  work: (engine: Engine) => Promise<Result>,
): Promise<Result> {
  const engine = createEngine({ databaseUrl, collections: [], poolSize: 2, logger });
  try {
    return await work(engine);
  } catch (error) {
    throw inWords(error as Error & { code?: string });
  } finally {
    await engine.stop();
  }
}

const logger = {
  info: () => {},
  warn: (_: unknown, message?: string) => writeError(`${message}\n`),
  error: (_: unknown, message?: string) => writeError(`${message}\n`),
};

function inWords(error: Error & { code?: string }): Error {
  if (error.code === '42P01' || error.code === '3F000') {
    return new CommandError('The database has no tables of Docket yet. Make them: docket migrate', { cause: error });
  }
  if (/^E[A-Z]+$|^08|^28|^3D|^57P/.test(error.code ?? '')) {
    const message = `The database cannot be used: ${error.message || error.code}. Check DATABASE_URL, and that the database runs.`;
    return new CommandError(message, { cause: error });
  }
  return error;
}
