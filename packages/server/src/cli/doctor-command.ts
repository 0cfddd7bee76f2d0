import { Docket, DocketError } from '@docket/client';
import type { Command } from 'commander';
import { version } from '../version.ts';
import { exitCodes } from './exit-codes.ts';
import { paint, textOf, write, writeJson } from './output.ts';
import { apiKeyOf, type GlobalOptions, globalsOf, serverUrl } from './session.ts';

interface Check {
  name: string;
  /** `skipped`: what it needs is not there. */
  state: 'good' | 'wrong' | 'skipped';
  found: string;
  /** What to do where it is wrong. */
  remedy?: string;
}

const good = (name: string, found: string): Check => ({ name, state: 'good', found });
const wrong = (name: string, found: string, remedy: string): Check => ({ name, state: 'wrong', found, remedy });
const skipped = (name: string, found: string): Check => ({ name, state: 'skipped', found });

const leastNode = [22, 18] as const;
const leastPostgres = 15;
const patienceMs = 5_000;
/** Seconds that clocks may be apart before times in logs and signatures mislead. */
const mostSkew = 30;

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .summary('find out what is wrong, and how to mend it')
    .description(
      'Checks this Node, the configuration, the server at DOCKET_URL, the key, both clocks, and the database where DATABASE_URL is ' +
        'set. Says what to do about each fault; exits with 1 when there is one.',
    )
    .addHelpText('after', '\nExamples:\n  docket doctor\n  docket doctor --url https://docket.example.com --json')
    .action(async (_options: object, self: Command) => {
      const globals = globalsOf(self);
      const checks = [checkNode(), await checkConfiguration(), ...(await checkServer(globals)), await checkDatabase()];
      const isWell = checks.every(({ state }) => state !== 'wrong');
      process.exitCode = isWell ? exitCodes.ok : exitCodes.error;
      if (globals.json) await writeJson({ ok: isWell, checks });
      else await write(checks.map(lineOf).join(''));
    });
}

function lineOf({ name, state, found, remedy }: Check): string {
  const colour = { good: 'green', wrong: 'red', skipped: 'gray' } as const;
  const line = `${paint(colour[state], state.padEnd(7))}  ${name.padEnd(13)}  ${textOf(found)}\n`;
  return remedy === undefined ? line : `${line}${' '.repeat(24)}${textOf(remedy)}\n`;
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
  if (isNew) return good('Node', process.version);
  return wrong('Node', process.version, `Docket needs Node ${leastNode.join('.')} or later.`);
}

async function checkConfiguration(): Promise<Check> {
  const { ConfigError, readConfig } = await import('../config.ts');
  try {
    const { databaseUrl, dataDir } = await readConfig(process.env, process.cwd());
    return good('configuration', databaseUrl === undefined ? `embedded database in ${dataDir}` : 'DATABASE_URL is set');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return wrong('configuration', error.message, 'Mend the environment, or the file that DOCKET_CONFIG names.');
  }
}

async function checkServer(globals: GlobalOptions): Promise<Check[]> {
  const rest = ['ready', 'version', 'clock', 'key'];
  let url: string;
  try {
    url = serverUrl(globals);
  } catch (error) {
    return [
      wrong('server', (error as Error).message, 'Set DOCKET_URL.'),
      ...rest.map((name) => skipped(name, 'there is no server to ask')),
    ];
  }
  const asked = await ask(`${url}/`);
  const about = asked instanceof Error ? undefined : ((await asked.json().catch(() => ({}))) as About);
  if (asked instanceof Error || about?.name !== 'Docket') {
    const found = asked instanceof Error ? `${url} does not answer: ${reasonOf(asked)}` : `${url} is no Docket server`;
    return [
      wrong('server', found, 'Start it (docket serve), or say where it is with DOCKET_URL or --url.'),
      ...rest.map((name) => skipped(name, 'there is no server to ask')),
    ];
  }
  return [
    good('server', url),
    await checkReady(url),
    checkVersion(about),
    checkClock(asked),
    await checkKey(url, globals),
  ];
}

interface About {
  name?: string;
  version?: string;
}

async function ask(url: string): Promise<Response | Error> {
  const headers = { accept: 'application/json' };
  return await fetch(url, { headers, signal: AbortSignal.timeout(patienceMs) }).catch((error: Error) => error);
}

function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error ? cause.message || String((cause as { code?: string }).code) : message;
}

async function checkReady(url: string): Promise<Check> {
  const answer = await ask(`${url}/readyz`);
  if (answer instanceof Error) return wrong('ready', reasonOf(answer), 'Look into the log of the server.');
  if (answer.ok) return good('ready', 'its database answers');
  return wrong(
    'ready',
    `/readyz says ${answer.status}`,
    'Its database does not answer: start it, or look into the log of the server.',
  );
}

/** Versions understand each other while the first number, and below 1.0 the second, is the same. */
function checkVersion({ version: served = 'unknown' }: About): Check {
  const significant = (text: string) => text.split('.', text.startsWith('0.') ? 2 : 1).join('.');
  if (significant(served) === significant(version)) return good('version', `${served}; this command: ${version}`);
  return wrong('version', `${served}; this command: ${version}`, 'Use the command of the version that the server has.');
}

function checkClock(answer: Response): Check {
  const skew = Math.round((Date.now() - Date.parse(answer.headers.get('date') ?? '')) / 1_000);
  if (Number.isNaN(skew)) return skipped('clock', 'the server does not say what time it has');
  if (Math.abs(skew) <= mostSkew) return good('clock', `within ${Math.max(1, Math.abs(skew))} s of the server's`);
  const found = `${Math.abs(skew)} s ${skew > 0 ? 'ahead of' : 'behind'} the server's`;
  return wrong('clock', found, 'Set both clocks by NTP: signatures of webhooks are refused after 300 s.');
}

async function checkKey(url: string, globals: GlobalOptions): Promise<Check> {
  const apiKey = apiKeyOf(globals);
  const remedy = 'Set DOCKET_API_KEY to a key in force; `docket keys create` makes one.';
  if (apiKey === undefined) return wrong('key', 'there is none', remedy);
  try {
    await new Docket({ baseUrl: url, apiKey, timeoutMs: patienceMs, maxRetries: 0 }).limits();
    return good('key', 'is in force');
  } catch (error) {
    if (!(error instanceof DocketError)) throw error;
    return wrong('key', error.message, error.code === 'unauthenticated' ? remedy : 'Look into the log of the server.');
  }
}

async function checkDatabase(): Promise<Check> {
  const databaseUrl = process.env.DATABASE_URL?.trim();
  if (!databaseUrl) return skipped('database', 'DATABASE_URL is not set');
  const [{ withEngine }, { migrations }, { sql }] = await Promise.all([
    import('./database.ts'),
    import('../migrations.ts'),
    import('@docket/engine'),
  ]);
  try {
    return await withEngine(databaseUrl, async (engine) => {
      const { rows } = await engine.pool.query<{ server_version: string }>(sql`show server_version`);
      const found = `PostgreSQL ${rows[0]?.server_version}`;
      if (Number.parseInt(rows[0]?.server_version ?? '', 10) < leastPostgres) {
        return wrong('database', found, `Docket needs PostgreSQL ${leastPostgres} or later.`);
      }
      const pending = await engine.pendingMigrations([migrations]);
      if (pending.length === 0) return good('database', `${found}, up to date`);
      return wrong('database', `${found}, lacks ${pending.join(', ')}`, 'Bring it up to date: docket migrate');
    });
  } catch (error) {
    return wrong(
      'database',
      (error as Error).message,
      'Check DATABASE_URL, and that the database runs and lets you in.',
    );
  }
}
