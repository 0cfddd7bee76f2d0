import sql, { empty, join, raw, type Sql } from 'sql-template-tag';

/** An identifier from a definition (never from a request), quoted. A dot separates schema and table. */
export function identifier(name: string): Sql {
  const quoted = name.split('.').map((part) => `"${part.replaceAll('"', '""')}"`);
  return raw(quoted.join('.'));
}

export { empty, join, raw, type Sql, sql };

/**
 * A list as a PostgreSQL array literal. One native call for the whole list: a thousand values a chunk in each of ten lists are what most
 * of the engine's garbage would be made of. Undefined for what the driver has to write itself.
 */
export function arrayLiteral(values: readonly unknown[]): string | undefined {
  if (!values.every(isPlain)) return undefined;
  const json = JSON.stringify(values);
  // why: JSON and array literals agree on \" and \\ and on no other escape
  return /(?<!\\)(?:\\\\)*\\[^"\\]/.test(json) ? undefined : `{${json.slice(1, -1)}}`;
}

function isPlain(value: unknown): boolean {
  return typeof value === 'string' || value === null || typeof value === 'boolean' || Number.isFinite(value);
}
