export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [member: string]: Json };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Sets a member whatever its name is: by assignment, `__proto__` would change the object's prototype and vanish. */
export function setMember(object: JsonObject, name: string, value: Json): void {
  if (name !== '__proto__') object[name] = value;
  else Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** One segment of an RFC 6901 pointer, escaped. */
export function pointerSegment(name: string | number): string {
  return `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** Structural equality of JSON values; the order of an object's members does not count. */
export function jsonEqual(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (Array.isArray(left)) {
    if (!Array.isArray(right) || left.length !== right.length) return false;
    return left.every((value, index) => jsonEqual(value, right[index]));
  }
  if (!isJsonObject(left) || !isJsonObject(right)) return false;
  const names = Object.keys(left);
  if (names.length !== Object.keys(right).length) return false;
  return names.every((name) => Object.hasOwn(right, name) && jsonEqual(left[name], right[name]));
}

/**
 * The first text in a JSON value that PostgreSQL cannot store as it is: a NUL character, or a lone surrogate, which UTF-8
 * cannot encode. Both are refused rather than replaced in silence.
 */
export function findUnstorableText(value: Json, pointer = ''): { pointer: string; message: string } | undefined {
  if (typeof value === 'string') return textProblem(value, pointer);
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const problem = findUnstorableText(value[index] as Json, `${pointer}/${index}`);
      if (problem) return problem;
    }
    return undefined;
  }
  for (const name of Object.keys(value)) {
    const at = pointer + pointerSegment(name);
    const problem = textProblem(name, at) ?? findUnstorableText(value[name] as Json, at);
    if (problem) return problem;
  }
  return undefined;
}

function textProblem(text: string, pointer: string) {
  if (text.includes('\u0000')) return { pointer, message: 'Text must not contain the NUL character (U+0000).' };
  if (!text.isWellFormed()) return { pointer, message: 'Text must not contain a lone surrogate (invalid Unicode).' };
  return undefined;
}
