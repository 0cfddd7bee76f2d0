import closeWithGrace from 'close-with-grace';
import type { Logger } from 'pino';
import { ConfigError, readConfig } from './config.ts';
import { createLogger } from './logger.ts';
import { type RunningServer, startServer } from './server.ts';
import { describeFirstStart } from './welcome.ts';

/** Runs the server of the environment's configuration until it is asked to stop. Says on standard output when it is ready. */
export async function serve(): Promise<void> {
  try {
    await start();
  } catch (error) {
    fail(error);
  }
}

async function start(): Promise<void> {
  const config = await readConfig(process.env, process.cwd());
  const logger = await createLogger(config.logLevel, process.stdout.isTTY === true);
  let stopping = false;
  const starting = startServer(config, logger);
  closeWithGrace(
    { delay: 25_000, logger: { error: (error) => logger.error({ err: error }, 'stopped') } },
    async ({ err, signal }) => {
      stopping = true;
      if (err) logger.fatal({ err }, 'ended by an error that nothing caught');
      else if (signal) logger.info({ signal }, 'stopping');
      const server = await starting.catch(() => undefined);
      await server?.stop();
    },
  );
  const server = await starting.catch((error: unknown) => {
    if (!stopping) fail(error, logger);
  });
  if (server && !stopping) await announce(server);
}

async function announce(server: RunningServer): Promise<void> {
  process.stdout.write(`docket ready at ${server.url} (reference: ${server.url}/docs)\n`);
  if (server.firstStart) process.stdout.write(`${await describeFirstStart(server)}\n`);
}

/** Ends a start that did not work, with the reason in plain words. */
function fail(error: unknown, logger?: Logger): never {
  process.stderr.write(
    `docket could not start: ${reasonOf(error as NodeJS.ErrnoException & { port?: number; address?: string })}\n`,
  );
  logger?.debug({ err: error }, 'could not start');
  process.exit(1);
}

function reasonOf(error: NodeJS.ErrnoException & { port?: number; address?: string }): string {
  if (error instanceof ConfigError) return `the configuration is wrong.\n${error.message}`;
  if (error.code === 'EADDRINUSE') {
    return `port ${error.port} on ${error.address} is in use. Set PORT to another one, or to 0 for any that is free.`;
  }
  if (error.code === 'EACCES' && error.syscall === 'listen')
    return `port ${error.port} may not be used by this user. Set PORT.`;
  if (/^E(CONN|HOST|NET|AI_|TIMEDOUT|NOTFOUND)/.test(error.code ?? '')) {
    return `the database cannot be reached (${error.message}). Check DATABASE_URL, and that the database runs.`;
  }
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return `${error.message}${cause}`;
}
