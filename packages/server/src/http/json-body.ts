import { findUnstorableText, type InputError, isJsonObject, type Json, pointerSegment } from '@docket/engine';
import type { Api } from './api.ts';
import { findSyntaxError } from './json-syntax.ts';
import { ApiError } from './problems.ts';

const maxDepth = 32;
/** `rawBody` of a request without a body. */
export const emptyBody: Buffer = Buffer.alloc(0);

/**
 * Reads JSON bodies strictly: what could be read in two ways, or could not be stored as it was sent, is refused with
 * `malformed_body` and the place. The bytes stay on the request as `rawBody`.
 */
export function readJsonBodies(app: Api): void {
  app.decorateRequest('rawBody', null as unknown as Buffer);
  app.decorateRequest('bodyBytes', 0);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    ['application/json', 'application/merge-patch+json'],
    { parseAs: 'buffer' },
    (request, body: Buffer, done) => {
      request.rawBody = body;
      request.bodyBytes = body.length;
      try {
        refuseCompressed(request.headers['content-encoding']);
        const absent = body.length === 0 && request.routeOptions.config.optionalBody;
        done(null, absent ? undefined : parseJsonBody(body));
      } catch (error) {
        done(error as Error, undefined);
      }
    },
  );
}

function refuseCompressed(encoding: string | undefined): void {
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return;
  const detail = `The body has the Content-Encoding ${JSON.stringify(encoding)}. Send it uncompressed.`;
  throw new ApiError('unsupported_media_type', detail, { headers: { 'accept-encoding': 'identity' } });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Throws `malformed_body` that says what is wrong, where, and what to do. A byte order mark is accepted. */
export function parseJsonBody(body: Buffer): Json {
  if (body.length === 0) throw malformed('The body is empty. Send JSON.', '');
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw malformed(`The body is not valid UTF-8 (${placeOfBadByte(body)}). Send it in UTF-8.`, '');
  }
  // why first: a body of a million brackets would overflow the stack of whatever walks the value later
  const members = countMembers(text);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw malformed(describeSyntaxError(text, error as SyntaxError), '');
  }
  const found = inspect(value);
  if (found.proto) {
    throw malformed('A member is named "__proto__", which is not allowed. Remove it.', findProto(value, '') ?? '');
  }
  if (found.members !== members) {
    const duplicate = findDuplicate(text);
    if (duplicate) {
      throw malformed(`The member "${clip(duplicate.name)}" stands twice in one object. Keep one.`, duplicate.pointer);
    }
  }
  if (found.suspicious) {
    const problem = findUnstorableText(value);
    if (problem) throw malformed(problem.message, problem.pointer);
  }
  return value;
}

function malformed(message: string, pointer: string): ApiError {
  const errors: InputError[] = [{ pointer, message }];
  return new ApiError('malformed_body', pointer === '' ? message : `${message} It is at ${clip(pointer)}.`, { errors });
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
        const message = `The body is nested more than ${maxDepth} levels deep (${placeOf(text, at)}). Make it flatter.`;
        throw new ApiError('malformed_body', message, { limit: maxDepth, errors: [{ pointer: '', message }] });
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

/** Names the place by line and column, which is what people look for in an editor. */
function describeSyntaxError(text: string, error: SyntaxError): string {
  const position = /at position (\d+)/.exec(error.message)?.[1];
  const at = position === undefined ? (findSyntaxError(text) ?? text.length) : Number(position);
  if (at >= text.length) return `The body is not valid JSON: it ends too early (${placeOf(text, at)}). Mend it there.`;
  // why not the parser's own words: they quote the body and repeat the place in another form
  const expected = /^(Expected .*?) in JSON/.exec(error.message)?.[1];
  const what = expected ?? `${JSON.stringify(String.fromCodePoint(text.codePointAt(at) as number))} cannot stand there`;
  return `The body is not valid JSON: ${what} (${placeOf(text, at)}). Mend it there.`;
}

function placeOf(text: string, position: number): string {
  const before = text.slice(0, position);
  const line = before.split('\n').length;
  return `line ${line}, column ${position - before.lastIndexOf('\n')}`;
}

function placeOfBadByte(body: Buffer): string {
  let low = 0;
  let high = body.length;
  // why: the longest valid prefix ends where the bad byte starts; a prefix cut in a character is no error in streaming mode
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(body.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  return `byte ${low}`;
}

function clip(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}
