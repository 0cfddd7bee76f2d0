import { type Logger, pino } from 'pino';

/** The process's log: JSON lines, or lines for people on a terminal. Keys never stand in it. */
export async function createLogger(level: string, terminal: boolean): Promise<Logger> {
  const options = {
    level,
    redact: { paths: secretPaths, censor: '[redacted]' },
    serializers: { err: withoutConnection },
  };
  if (!terminal) return pino(options);
  const { default: pretty } = await import('pino-pretty');
  return pino(options, pretty({ colorize: true, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' }));
}

/** An error without the connection that the driver hangs on it: its whole state, and its key to cancel statements. */
function withoutConnection(error: Error): object {
  const { client: _, ...rest } = pino.stdSerializers.err(error) as pino.SerializedError & { client?: unknown };
  return rest;
}

const secretPaths = ['authorization', '["x-api-key"]'].flatMap((name) =>
  ['', 'headers', 'req.headers', 'err.headers'].map((where) =>
    where && !name.startsWith('[') ? `${where}.${name}` : `${where}${name}`,
  ),
);
