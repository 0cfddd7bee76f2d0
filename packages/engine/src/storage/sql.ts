import sql, { empty, join, raw, type Sql } from 'sql-template-tag';

/** An identifier from a definition (never from a request), quoted. A dot separates schema and table. */
export function identifier(name: string): Sql {
  const quoted = name.split('.').map((part) => `"${part.replaceAll('"', '""')}"`);
  return raw(quoted.join('.'));
}

export { empty, join, raw, type Sql, sql };
