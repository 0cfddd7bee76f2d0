import { findUnstorableText, isJsonObject, type Json, pointerSegment } from '@docket/engine';
import { findSyntaxError } from './json-syntax.ts';

const maxDepth = 32;

interface Fault {
  /** What the text is or has; the subject is the reader's to name. */
  reason: string;
  remedy: string;
  /** Index in the text, where the fault is in how it is written. */
  at?: number;
  /** Pointer to the value, where the fault is in what it says. */
  pointer?: string;
  limit?: number;
}

/** JSON that could be read in two ways, or not at all, or could not be stored as it was sent. */
export class JsonFault extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.reason);
    this.fault = fault;
  }
}

/** Reads JSON strictly. Throws JsonFault. */
export function readJson(text: string): Json {
  // why first: a text of a million brackets would overflow the stack of whatever walks the value later
  const members = countMembers(text);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw syntaxFault(text, error as SyntaxError);
  }
  const found = inspect(value);
  if (found.proto) {
    const reason = 'has a member named "__proto__", which is not allowed.';
    throw new JsonFault({ reason, remedy: 'Remove it.', pointer: findProto(value, '') ?? '' });
  }
  if (found.members !== members) {
    const duplicate = findDuplicate(text);
    if (duplicate) {
      const reason = `has the member "${clip(duplicate.name)}" twice in one object.`;
      throw new JsonFault({ reason, remedy: 'Keep one.', pointer: duplicate.pointer });
    }
  }
  if (found.suspicious) {
    const problem = findUnstorableText(value);
    if (problem) throw new JsonFault({ reason: problem.message, remedy: '', pointer: problem.pointer });
  }
  return value;
}

const quote = 0x22;
const backslash = 0x5c;
const colon = 0x3a;

/** Members of all objects in a JSON text (a colon outside of strings is one). Refuses what is nested too deeply. */
function countMembers(text: string): number {
  let members = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === quote) {
      at = endOfString(text, at);
    } else if (char === colon) {
      members++;
    } else if (char === 0x7b || char === 0x5b) {
      if (++depth > maxDepth) {
        const reason = `is nested more than ${maxDepth} levels deep`;
        throw new JsonFault({ reason, remedy: 'Make it flatter.', at, limit: maxDepth });
      }
    } else if (char === 0x7d || char === 0x5d) {
      depth--;
    }
  }
  return members;
}

/** Index of the quote that ends the string that starts at `start`; the text's length where it has no end. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === backslash) backslashes++;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return text.length;
}

interface Findings {
  members: number;
  proto: boolean;
  /** Some text is not storable; which one is looked for only then. */
  suspicious: boolean;
}

function inspect(value: Json): Findings {
  const found: Findings = { members: 0, proto: false, suspicious: false };
  visit(value, found);
  return found;
}

function visit(value: Json, found: Findings): void {
  if (typeof value === 'string') {
    if (isUnstorable(value)) found.suspicious = true;
  } else if (Array.isArray(value)) {
    for (const entry of value) visit(entry, found);
  } else if (value !== null && typeof value === 'object') {
    for (const name of Object.keys(value)) {
      found.members++;
      if (name === '__proto__') found.proto = true;
      else if (isUnstorable(name)) found.suspicious = true;
      visit(value[name] as Json, found);
    }
  }
}

function isUnstorable(text: string): boolean {
  return !text.isWellFormed() || text.includes('\u0000');
}

function findProto(value: Json, pointer: string): string | undefined {
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) {
      const found = findProto(entry, `${pointer}/${index}`);
      if (found !== undefined) return found;
    }
  } else if (isJsonObject(value)) {
    for (const [name, entry] of Object.entries(value)) {
      const at = pointer + pointerSegment(name);
      if (name === '__proto__') return at;
      const found = findProto(entry, at);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

interface Frame {
  /** Names seen so far; undefined in an array. */
  names: Set<string> | undefined;
  /** The name or index of the entry at hand. */
  key: string | number;
}

/** The first member of a valid JSON text whose name its object has already. */
function findDuplicate(text: string): { name: string; pointer: string } | undefined {
  const frames: Frame[] = [];
  let lastString = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    const frame = frames.at(-1);
    if (char === '"') {
      const end = endOfString(text, at);
      lastString = text.slice(at, end + 1);
      at = end;
    } else if (char === '{') {
      frames.push({ names: new Set(), key: '' });
    } else if (char === '[') {
      frames.push({ names: undefined, key: 0 });
    } else if (char === '}' || char === ']') {
      frames.pop();
    } else if (char === ',' && frame && !frame.names) {
      frame.key = (frame.key as number) + 1;
    } else if (char === ':' && frame?.names) {
      const name = JSON.parse(lastString) as string;
      frame.key = name;
      if (frame.names.has(name)) return { name, pointer: frames.map(({ key }) => pointerSegment(key)).join('') };
      frame.names.add(name);
    }
  }
  return undefined;
}

function syntaxFault(text: string, error: SyntaxError): JsonFault {
  const position = /at position (\d+)/.exec(error.message)?.[1];
  const at = position === undefined ? (findSyntaxError(text) ?? text.length) : Number(position);
  const remedy = 'Mend it there.';
  if (at >= text.length) return new JsonFault({ reason: 'is not valid JSON: it ends too early', remedy, at });
  // why not the parser's own words: they quote the body and repeat the place in another form
  const expected = /^(Expected .*?) in JSON/.exec(error.message)?.[1];
  const what = expected ?? `${JSON.stringify(String.fromCodePoint(text.codePointAt(at) as number))} cannot stand there`;
  return new JsonFault({ reason: `is not valid JSON: ${what}`, remedy, at });
}

export function clip(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}
