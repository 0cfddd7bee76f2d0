import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyCollectionMount, EngineOptions, Limits, TimesToLive } from '@docket/engine';
import { defaultLimits, isPrice } from '@docket/engine';
import { shortestKey } from './api-keys.ts';
import { sealKeyBytes } from './webhooks/sealed-secrets.ts';

const roles = ['api', 'worker'] as const;
type Role = (typeof roles)[number];
const seeds = ['incidents', 'none'] as const;
const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** What the file named by DOCKET_CONFIG may export as its default. */
export interface Settings
  extends TimesToLive,
    Pick<EngineOptions, 'poolSize' | 'workers' | 'syncBudgetMs' | 'credits'> {
  limits?: Partial<Limits>;
  /** Collections beside the built-in ones. */
  collections?: readonly AnyCollectionMount[];
  /** Scheme and authority under which clients reach the server, for links: https://docket.example.com */
  publicUrl?: string;
  /** Origins whose pages may call the API from a browser: https://desk.example.com. None by default. */
  corsOrigins?: readonly string[];
  /** Ports that webhooks are sent to. Default: 80 and 443. */
  webhookPorts?: readonly number[];
}

export interface Config {
  host: string;
  port: number;
  databaseUrl: string | undefined;
  dataDir: string;
  adminKey: string | undefined;
  roles: ReadonlySet<Role>;
  /** Undefined: the sample data on a new embedded database, else nothing. */
  seed: (typeof seeds)[number] | undefined;
  logLevel: (typeof logLevels)[number];
  /** Webhooks may go to loopback and private addresses, and to any port. */
  webhooksAllowPrivate: boolean;
  /** Keys that seal the secrets of webhooks in the database: the first seals, all open. Without any they are stored as they are. */
  secretsKeys: readonly Buffer[];
  settings: Settings;
}

/** What is wrong with the configuration, each problem on its own line. Nothing was started. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads and checks the environment, and the file it names. Throws ConfigError that names every problem. */
export async function readConfig(env: Environment, directory: string): Promise<Config> {
  const problems: string[] = [];
  const read = reader(env, problems);
  const config = {
    host: read.text('HOST') ?? '127.0.0.1',
    port: read.integer('PORT', 0, 65_535) ?? 3_000,
    databaseUrl: databaseUrl(read.text('DATABASE_URL'), problems),
    dataDir: resolve(directory, read.text('DOCKET_DATA_DIR') ?? '.docket'),
    adminKey: adminKey(read.text('DOCKET_ADMIN_KEY'), problems),
    roles: new Set(read.list('DOCKET_ROLES', roles) ?? roles),
    seed: read.choice('DOCKET_SEED', seeds),
    logLevel: read.choice('LOG_LEVEL', logLevels) ?? 'info',
    webhooksAllowPrivate: read.choice('DOCKET_WEBHOOKS_ALLOW_PRIVATE', ['true', 'false'] as const) === 'true',
    secretsKeys: secretsKeys(read.text('DOCKET_SECRETS_KEY'), problems),
    settings: await readSettings(read.text('DOCKET_CONFIG'), directory, problems),
  };
  if (problems.length > 0) throw new ConfigError(problems.join('\n'));
  return config;
}

function reader(env: Environment, problems: string[]) {
  // why: an empty variable is how many tools say "not set"
  const text = (name: string) => env[name]?.trim() || undefined;
  const choice = <Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined => {
    const value = text(name);
    if (value === undefined || choices.includes(value as Choice)) return value as Choice | undefined;
    problems.push(`${name} is "${value}"; it must be one of: ${choices.join(', ')}.`);
    return undefined;
  };
  const list = <Choice extends string>(name: string, choices: readonly Choice[]): Choice[] | undefined => {
    const values = text(name)
      ?.split(',')
      .map((value) => value.trim());
    const wrong = values?.find((value) => !choices.includes(value as Choice));
    if (wrong === undefined) return values as Choice[] | undefined;
    problems.push(`${name} has "${wrong}"; it is a list, with commas, of: ${choices.join(', ')}.`);
    return undefined;
  };
  const integer = (name: string, least: number, most: number): number | undefined => {
    const value = text(name);
    if (value === undefined) return undefined;
    if (/^\d+$/.test(value) && Number(value) >= least && Number(value) <= most) return Number(value);
    problems.push(`${name} is "${value}"; it must be a whole number from ${least} to ${most}.`);
    return undefined;
  };
  return { text, choice, list, integer };
}

function databaseUrl(value: string | undefined, problems: string[]): string | undefined {
  if (value !== undefined && !/^postgres(ql)?:\/\//.test(value)) {
    problems.push('DATABASE_URL must start with postgres:// or postgresql://. Leave it out for the embedded database.');
  }
  return value;
}

function adminKey(value: string | undefined, problems: string[]): string | undefined {
  if (value !== undefined && !(value.length >= shortestKey && value.length <= 512 && /^[\x21-\x7e]+$/.test(value))) {
    problems.push(
      `DOCKET_ADMIN_KEY must have ${shortestKey} to 512 printable characters without spaces; it has ${value.length} characters. Leave it out to have one made.`,
    );
  }
  return value;
}

function secretsKeys(value: string | undefined, problems: string[]): Buffer[] {
  const keys = (value?.split(',') ?? []).map((text) => Buffer.from(text.trim(), 'base64'));
  const wrong = keys.findIndex((key) => key.length !== sealKeyBytes);
  if (wrong !== -1) {
    const which = keys.length > 1 ? `Key ${wrong + 1} of DOCKET_SECRETS_KEY` : 'DOCKET_SECRETS_KEY';
    problems.push(`${which} must be ${sealKeyBytes} bytes as base64: openssl rand -base64 ${sealKeyBytes}`);
  }
  return keys;
}

async function readSettings(name: string | undefined, directory: string, problems: string[]): Promise<Settings> {
  const path = resolve(directory, name ?? 'docket.config.ts');
  if (name === undefined && !existsSync(path)) return {};
  let exported: unknown;
  try {
    exported = ((await import(pathToFileURL(path).href)) as { default?: unknown }).default;
  } catch (error) {
    problems.push(`The configuration file ${path} cannot be loaded: ${(error as Error).message}`);
    return {};
  }
  const found = settingsProblems(exported);
  for (const problem of found) problems.push(`In the configuration file ${path}: ${problem}`);
  return found.length > 0 ? {} : (exported as Settings);
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
const isOrigin = (value: unknown) =>
  typeof value === 'string' && URL.canParse(value) && new URL(value).origin === value;
const isPort = (value: unknown) => isCount(value) && (value as number) <= 65_535;
const prices = ['batch', 'item'];
const arePrices = (value: unknown) =>
  typeof value === 'object' &&
  value !== null &&
  Object.entries(value).every(([name, price]) => prices.includes(name) && isPrice(price));
const count = [isCount, 'must be a whole number from 1'] as const;

const settingRules: Record<keyof Settings, readonly [(value: unknown) => boolean, string]> = {
  limits: [(value) => typeof value === 'object' && value !== null, 'must be an object of limits'],
  collections: [Array.isArray, 'must be a list of collections'],
  publicUrl: [isOrigin, 'must be an origin such as https://docket.example.com'],
  corsOrigins: [
    (value) => Array.isArray(value) && value.every(isOrigin),
    'must be a list of origins such as https://desk.example.com',
  ],
  webhookPorts: [(value) => Array.isArray(value) && value.every(isPort), 'must be a list of ports such as 443'],
  credits: [
    arePrices,
    'must be an object of `batch` and `item`, numbers from 0 to 1000000 with at most three decimals',
  ],
  poolSize: count,
  workers: count,
  syncBudgetMs: count,
  jobTtlSeconds: count,
  idempotencyTtlSeconds: [
    (value) => isCount(value) && (value as number) >= 24 * 3600 && (value as number) <= 72 * 3600,
    'must be a whole number from 86400 to 259200: 24 to 72 hours',
  ],
  changeTtlSeconds: count,
};

/** What is wrong with the default export of a configuration file, in words. */
function settingsProblems(settings: unknown): string[] {
  if (typeof settings !== 'object' || settings === null) return ['its default export must be an object of settings.'];
  const problems: string[] = [];
  for (const [name, value] of Object.entries(settings)) {
    const rule = Object.hasOwn(settingRules, name) ? settingRules[name as keyof Settings] : undefined;
    if (!rule) problems.push(`there is no setting "${name}"; there are ${Object.keys(settingRules).join(', ')}.`);
    else if (value !== undefined && !rule[0](value)) problems.push(`\`${name}\` ${rule[1]}.`);
  }
  const { limits } = settings as Settings;
  for (const [name, value] of Object.entries(limits ?? {})) {
    if (!Object.hasOwn(defaultLimits, name)) {
      problems.push(`there is no limit "${name}"; there are ${Object.keys(defaultLimits).join(', ')}.`);
    } else if (!isCount(value)) problems.push(`\`limits.${name}\` must be a whole number from 1.`);
  }
  return problems;
}
