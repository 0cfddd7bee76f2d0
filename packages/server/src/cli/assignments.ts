import type { Json } from '@docket/client';
import { CommandError } from './failure.ts';

type JsonObject = { [member: string]: Json };

/** The name before the first `=` and what stands behind it, as it is. */
function split(option: string, text: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at).trim(), text.slice(at + 1)];
  throw new CommandError(`${option} is ${JSON.stringify(text)}; it must be name=value, such as status="In Progress".`);
}

/** Filters: a name given several times means any of its values, an empty value the records without one. */
export function readWhere(pairs: readonly string[] = []): Record<string, string | string[] | null> {
  const where: Record<string, string | string[] | null> = Object.create(null);
  for (const pair of pairs) {
    const [name, value] = split('--where', pair);
    const before = where[name];
    if (before === undefined) where[name] = value === '' ? null : value;
    else if (before === null || value === '') {
      throw new CommandError(
        `--where ${name}= selects records without ${name}; it cannot be joined with other values.`,
      );
    } else where[name] = [before, value].flat();
  }
  return where;
}

export interface Assignments {
  /** `field=text` */
  set?: readonly string[];
  /** `field=<JSON>` */
  setJson?: readonly string[];
  /** `field`, to be null. */
  unset?: readonly string[];
}

/** A merge patch; `data.site=Rome` sets a member of an object. Throws CommandError where a field is set twice, or nothing is. */
export function readFields({ set = [], setJson = [], unset = [] }: Assignments): JsonObject {
  const fields: JsonObject = Object.create(null);
  for (const pair of set) assign(fields, ...split('--set', pair));
  for (const pair of setJson) {
    const [name, value] = split('--set-json', pair);
    assign(fields, name, readJson(name, value));
  }
  for (const name of unset) assign(fields, name, null);
  if (Object.keys(fields).length > 0) return fields;
  throw new CommandError('Nothing is to be set. Give --set field=value, --set-json field=<JSON> or --unset field.');
}

function readJson(name: string, text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw new CommandError(
      `--set-json ${name} is no JSON: ${text}. Put text into double quotes, or use --set ${name}=...`,
    );
  }
}

function assign(fields: JsonObject, path: string, value: Json): void {
  const names = path.split('.');
  const last = names.pop() as string;
  let inner = fields;
  for (const name of names) {
    inner[name] ??= Object.create(null) as JsonObject;
    const member = inner[name];
    if (typeof member !== 'object' || member === null || Array.isArray(member)) throw setTwice(path);
    inner = member;
  }
  if (last in inner) throw setTwice(path);
  inner[last] = value;
}

function setTwice(path: string): CommandError {
  return new CommandError(`${path} is set twice. Give it once.`);
}
