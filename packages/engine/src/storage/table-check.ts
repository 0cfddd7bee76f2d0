import type { Collection } from '../domain/collection.ts';
import type { Database } from './database.ts';
import { sql } from './sql.ts';

/** What the catalog says of a mapped table, as the record store needs it. */
export interface TableInfo {
  idType: string;
  /** Type of each field's column, without length or precision. */
  columnTypes: ReadonlyMap<string, string>;
  /** The columns of the unique index that identifies a record. */
  keyColumns: readonly string[];
}

export class TableError extends Error {
  override readonly name = 'TableError';
}

interface Column {
  name: string;
  type: string;
  nullable: boolean;
  has_default: boolean;
}

const idTypes = ['text', 'character varying', 'uuid', 'integer', 'bigint'];
const textTypes = [
  'text',
  'character varying',
  'character',
  'uuid',
  'citext',
  'timestamp with time zone',
  'timestamp without time zone',
  'date',
];
const typesOf: Record<string, readonly string[]> = {
  string: textTypes,
  number: ['numeric', 'double precision', 'real', 'integer', 'bigint', 'smallint'],
  integer: ['integer', 'bigint', 'smallint', 'numeric'],
  boolean: ['boolean'],
  json: ['json', 'jsonb'],
};

/** Compares a collection's table with its definition; the message of each difference says what to mend. */
export async function inspectTable(
  db: Database,
  collection: Collection<never>,
): Promise<{ info: TableInfo; problems: string[] }> {
  const { table } = collection;
  const [schema, name] = table.name.includes('.') ? table.name.split('.') : ['public', table.name];
  const columns = new Map<string, Column & { enum: boolean }>();
  const { rows } = await db.query<Column & { enum: boolean }>(sql`
    select a.attname as name, format_type(a.atttypid, null) as type, not a.attnotnull as nullable,
      a.atthasdef or a.attidentity <> '' or a.attgenerated <> '' as has_default, t.typtype = 'e' as enum
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid
    where n.nspname = ${schema} and c.relname = ${name} and a.attnum > 0 and not a.attisdropped`);
  for (const row of rows) columns.set(row.name, row);
  const problems: string[] = [];
  const info: TableInfo = { idType: 'text', columnTypes: new Map(), keyColumns: [table.id] };
  if (columns.size === 0) return { info, problems: [`There is no table ${schema}.${name}.`] };

  const need = (column: string | undefined, use: string, types?: readonly string[]): string => {
    if (column === undefined) return '';
    const found = columns.get(column);
    if (!found) problems.push(`${schema}.${name} has no column "${column}" (${use}).`);
    else if (types && !types.includes(found.type) && !(found.enum && types === textTypes)) {
      problems.push(`${schema}.${name}."${column}" (${use}) is ${found.type}; it must be ${types.join(', ')}.`);
    }
    return found?.type ?? 'text';
  };
  const idType = need(table.id, 'the id', idTypes);
  need(table.tenant, 'the tenant', ['text', 'character varying']);
  need(table.version, 'the version', ['integer', 'bigint']);
  need(table.createdAt, 'createdAt', ['timestamp with time zone']);
  need(table.updatedAt, 'updatedAt', ['timestamp with time zone']);
  const columnTypes = new Map<string, string>();
  for (const field of collection.fields.values()) {
    const kind = jsonKind(field.schema);
    columnTypes.set(
      field.name,
      need(field.column, `the field ${field.name}`, kind === undefined ? undefined : typesOf[kind]),
    );
  }
  const mapped = new Set([table.id, table.tenant, table.version, table.createdAt, table.updatedAt]);
  for (const field of collection.fields.values()) mapped.add(field.column);
  const unset = [...columns.values()].filter(
    (column) => !mapped.has(column.name) && !column.nullable && !column.has_default,
  );
  const keyColumns = await findKey(db, schema as string, name as string, table.tenant, table.id);
  if (!keyColumns) {
    const wanted = table.tenant ? `("${table.tenant}", "${table.id}")` : `("${table.id}")`;
    problems.push(`${schema}.${name} has no unique index on ${wanted}, so an id may not name one record.`);
  }
  if (unset.length > 0) {
    const names = unset.map((column) => `"${column.name}"`).join(', ');
    problems.push(`${schema}.${name} requires ${names}, which no field maps: new records could not be created.`);
  }
  return { info: { idType, columnTypes, keyColumns: keyColumns ?? [table.id] }, problems };
}

async function findKey(
  db: Database,
  schema: string,
  name: string,
  tenant: string | undefined,
  id: string,
): Promise<string[] | undefined> {
  const { rows } = await db.query<{ columns: string[] }>(sql`
    select array_agg(a.attname::text order by k.position) as columns
    from pg_index i
    join pg_class c on c.oid = i.indrelid
    join pg_namespace n on n.oid = c.relnamespace
    cross join lateral unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
    join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
    where n.nspname = ${schema} and c.relname = ${name} and i.indisunique and i.indpred is null and i.indexprs is null
      and i.indisvalid and k.position <= i.indnkeyatts
    group by i.indexrelid`);
  const keys = rows.map((row) => row.columns);
  return (
    keys.find((key) => tenant !== undefined && key.length === 2 && key.includes(tenant) && key.includes(id)) ??
    keys.find((key) => key.length === 1 && key[0] === id)
  );
}

/** The kind of JSON value that a schema describes; undefined where it may be several. */
export function jsonKind(schema: unknown): keyof typeof typesOf | undefined {
  const { type, const: constant, enum: values, anyOf } = schema as Record<string, unknown>;
  if (type === 'object' || type === 'array') return 'json';
  if (typeof type === 'string' && type in typesOf) return type;
  const kinds = new Set(
    Array.isArray(anyOf)
      ? anyOf.map(jsonKind)
      : (Array.isArray(values) ? values : constant === undefined ? [] : [constant]).map((value) => typeof value),
  );
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined && kind in typesOf ? kind : undefined;
}
