import { type Logger, pino } from 'pino';

/** The process's log: JSON lines, or lines for people on a terminal. Keys never stand in it. */
export async function createLogger(level: string, terminal: boolean): Promise<Logger> {
  const options = {
    level,
    redact: { paths: secretPaths, censor: '[redacted]' },
  };
  if (!terminal) return pino(options);
  const { default: pretty } = await import('pino-pretty');
  return pino(options, pretty({ colorize: true, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' }));
}

const secretPaths = ['authorization', '["x-api-key"]'].flatMap((name) =>
  ['', 'headers', 'req.headers', 'err.headers'].map((where) =>
    where && !name.startsWith('[') ? `${where}.${name}` : `${where}${name}`,
  ),
);
