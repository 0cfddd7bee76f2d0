import { RequestError } from '../domain/codes.ts';
import type { Collection } from '../domain/collection.ts';
import { findUnstorableText, type Json, type JsonObject } from '../domain/json.ts';
import { empty, identifier, join, type Sql, sql } from './sql.ts';
import { jsonKind } from './table-check.ts';

/**
 * The conditions, each led by `and`, that a `where` adds to a statement. Throws `unknown_option` for an unknown filter,
 * `invalid_parameter` for a value of the wrong kind.
 */
export function recordFilter(collection: Collection<never>, where: JsonObject): Sql {
  const conditions = Object.entries(where).map(([name, value]) => condition(collection, name, value));
  return conditions.length === 0 ? empty : sql`and ${join(conditions, ' and ')}`;
}

function condition(collection: Collection<never>, name: string, value: Json): Sql {
  const filter = Object.hasOwn(collection.filters, name) ? collection.filters[name] : undefined;
  if (!filter) {
    const known = Object.keys(collection.filters).join(', ');
    throw new RequestError('unknown_option', `There is no filter "${name}". The filters are: ${known}.`, {
      errors: [{ pointer: `/${name}`, message: `Unknown filter "${name}".` }],
    });
  }
  const unstorable = findUnstorableText(value);
  if (unstorable) throw invalid(name, `must be storable text. ${unstorable.message}`);
  if (filter.op === 'contains') {
    if (typeof value !== 'string' || value.length === 0) throw invalid(name, 'must be text');
    const pattern = `%${value.replace(/[\\%_]/g, '\\$&')}%`;
    const columns = filter.fields.map((field) => sql`${column(collection, field)}::text ilike ${pattern}`);
    return sql`(${join(columns, ' or ')})`;
  }
  if (filter.op === 'atLeast') {
    const time = typeof value === 'string' ? asTimestamp(value) : undefined;
    if (!time) throw invalid(name, 'must be an RFC 3339 time with an offset, 2026-01-31T12:00:00Z');
    return sql`${identifier(collection.table[filter.field] as string)} >= ${time}::timestamptz`;
  }
  const values = Array.isArray(value) ? value : [value];
  if (values.length === 0) throw invalid(name, 'must name at least one value');
  if (values.some((one) => one === null)) {
    if (values.length > 1) throw invalid(name, 'cannot mix null with values');
    return sql`${column(collection, filter.field)} is null`;
  }
  if (!values.every((one) => typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean')) {
    throw invalid(name, 'must be text, a number, true or false, null, or a list of such values');
  }
  const field = collection.fields.get(filter.field);
  const target = column(collection, filter.field);
  const kind = jsonKind(field?.schema);
  if (kind === 'number' || kind === 'integer') {
    if (!values.every(isNumber)) throw invalid(name, 'must be a number');
    return sql`${target} = any(${values.map(Number)}::numeric[])`;
  }
  if (kind === 'boolean') {
    if (!values.every((one) => ['true', 'false'].includes(String(one)))) throw invalid(name, 'must be true or false');
    return sql`${target} = any(${values.map(String)}::boolean[])`;
  }
  const texts = values.map(String);
  return texts.length === 1 ? sql`${target}::text = ${texts[0]}` : sql`${target}::text = any(${texts}::text[])`;
}

function isNumber(value: Json): boolean {
  if (typeof value === 'string') return /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value) && Number.isFinite(Number(value));
  return typeof value === 'number' && Number.isFinite(value);
}

/** The time in UTC, with all the digits that it was given; undefined when it is none that PostgreSQL knows. */
function asTimestamp(value: string): string | undefined {
  const parts = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)((?<=:\d\d:\d\d)\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/.exec(
    value,
  );
  if (!parts) return undefined;
  const [, day, time, fraction, offset = ''] = parts;
  const date = new Date(`${day}T${time}${offset.toUpperCase()}`);
  if (Number.isNaN(date.getTime()) || date.getUTCFullYear() < 1 || date.getUTCFullYear() > 9999) return undefined;
  return date.toISOString().replace('.000', fraction ?? '.000');
}

function column(collection: Collection<never>, field: string): Sql {
  return identifier(collection.fields.get(field)?.column ?? collection.table.id);
}

function invalid(name: string, rule: string): RequestError {
  return new RequestError('invalid_parameter', `The filter "${name}" ${rule}.`, {
    errors: [{ pointer: `/${name}`, message: `"${name}" ${rule}.` }],
  });
}
