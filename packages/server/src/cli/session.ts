import { Docket } from '@docket/client';
import { type Command, InvalidArgumentError } from 'commander';
import { CommandError } from './failure.ts';

/** Options that every command has. */
export interface GlobalOptions {
  json: boolean;
  verbose: boolean;
  url?: string;
  apiKey?: string;
}

const defaultUrl = 'http://127.0.0.1:3000';

export function globalsOf(command: Command): GlobalOptions {
  const { json = false, verbose = false, url, apiKey } = command.optsWithGlobals<Partial<GlobalOptions>>();
  return { json, verbose, ...(url === undefined ? {} : { url }), ...(apiKey === undefined ? {} : { apiKey }) };
}

/** Where the server is: `--url`, `DOCKET_URL`, or this machine. Throws CommandError for what is no URL. */
export function serverUrl({ url }: GlobalOptions): string {
  const given = url ?? (process.env.DOCKET_URL || defaultUrl);
  if (/^https?:\/\//.test(given) && URL.canParse(given)) return given.replace(/\/+$/, '');
  throw new CommandError(
    `${JSON.stringify(given)} is no http or https URL. Give one with --url or DOCKET_URL: ${defaultUrl}`,
  );
}

export function apiKeyOf({ apiKey }: GlobalOptions): string | undefined {
  return apiKey ?? (process.env.DOCKET_API_KEY || undefined);
}

/** What a command that talks to a server works with. */
export interface Session {
  docket: Docket;
  json: boolean;
}

/** Asks nothing of the server. Throws CommandError where there is no key. */
export function openSession(command: Command): Session {
  const globals = globalsOf(command);
  const apiKey = apiKeyOf(globals);
  if (apiKey === undefined) {
    throw new CommandError(
      'There is no API key. Set DOCKET_API_KEY, or give --api-key; `docket keys create` makes one.',
    );
  }
  return { docket: new Docket({ baseUrl: serverUrl(globals), apiKey }), json: globals.json };
}

/** Whether there is somebody to ask. */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** The value of an option that is a number from `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    if (/^\d{1,15}$/.test(text) && Number(text) >= least) return Number(text);
    throw new InvalidArgumentError(`It must be a whole number from ${least}.`);
  };
}

/** Collects an option that may be given several times. */
export function several(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}
