import type { Collection, RecordState } from '../domain/collection.ts';
import type { Json, JsonObject } from '../domain/json.ts';
import type { Database, Transaction } from './database.ts';
import { recordFilter } from './record-filter.ts';
import { empty, identifier, join, raw, type Sql, sql } from './sql.ts';
import { jsonKind, type TableInfo } from './table-check.ts';

type Row = Record<string, unknown>;

/** A field and what it is called in a query. */
interface Alias {
  name: string;
  alias: string;
  column: Sql;
}

/** The fields to read, of which the times are none; undefined: all, and the times. */
type Fields = ReadonlySet<string> | undefined;

function leadingComma(parts: readonly Sql[]): Sql {
  return parts.length === 0 ? empty : sql`, ${join(parts)}`;
}

/** Reads and writes the records of one collection's table. Every statement names the tenant. */
export class RecordStore {
  readonly collection: Collection<never>;
  readonly #info: TableInfo;
  /** Id and version. */
  readonly #head: readonly Sql[];
  /** Id, version, times and all fields. */
  readonly #all: Sql;
  readonly #table: Sql;
  readonly #id: Sql;
  readonly #aliases: readonly Alias[];
  readonly #numeric: readonly string[];

  constructor(collection: Collection<never>, info: TableInfo) {
    this.collection = collection;
    this.#info = info;
    const { table, fields } = collection;
    this.#table = identifier(table.name);
    this.#id = identifier(table.id);
    const head = [sql`${this.#id}${this.#isTextId() ? empty : raw('::text')} as id`];
    if (table.version) head.push(sql`${identifier(table.version)} as version`);
    this.#head = head;
    const times: Sql[] = [];
    if (table.createdAt) times.push(sql`${identifier(table.createdAt)} as created_at`);
    if (table.updatedAt) times.push(sql`${identifier(table.updatedAt)} as updated_at`);
    const names = [...fields.keys()];
    this.#aliases = [...fields.values()].map(({ name, column }, position) => {
      const alias = `f${position}`;
      return { name, alias, column: sql`${identifier(column)} as ${raw(alias)}` };
    });
    this.#all = join([...head, ...times, ...this.#aliases.map(({ column }) => column)]);
    this.#numeric = names.filter((name) => {
      const kind = jsonKind(fields.get(name)?.schema);
      return this.#info.columnTypes.get(name) === 'numeric' && kind !== 'string';
    });
  }

  /** The records as they are now; ids that do not exist are left out. Fields that are not read are missing. */
  async read(
    db: Database,
    tenantId: string,
    ids: readonly string[],
    fields?: Fields,
  ): Promise<Map<string, RecordState>> {
    return this.#byId(await db.query<Row>(this.#select(tenantId, ids, fields)), fields);
  }

  /** Reads and locks, in id order so that batches never wait for each other in a circle. */
  async lock(
    db: Database,
    tenantId: string,
    ids: readonly string[],
    fields?: Fields,
  ): Promise<Map<string, RecordState>> {
    const statement = sql`${this.#select(tenantId, ids, fields)} order by ${this.#id} for update`;
    return this.#byId(await db.query<Row>(statement), fields);
  }

  /** Locks those that nobody else holds at the moment. */
  async lockAvailable(
    db: Database,
    tenantId: string,
    ids: readonly string[],
    fields?: Fields,
  ): Promise<Map<string, RecordState>> {
    const statement = sql`${this.#select(tenantId, ids, fields)} order by ${this.#id} for update skip locked`;
    return this.#byId(await db.query<Row>(statement), fields);
  }

  /** Writes the final state of records that this transaction has locked. `changed` are the fields that differ in any of them. */
  async update(
    db: Database,
    tenantId: string,
    records: readonly RecordState[],
    changed: readonly string[],
  ): Promise<void> {
    const { table } = this.collection;
    const columns = changed.map((name) => this.#fieldColumn(name, records));
    const sets = columns.map(({ column, alias }) => sql`${column} = u.${alias}`);
    if (table.version) {
      columns.push({
        column: identifier(table.version),
        alias: raw('version'),
        array: sql`${records.map((one) => one.version)}::bigint[]`,
      });
      sets.push(sql`${identifier(table.version)} = u.version`);
    }
    if (table.updatedAt) sets.push(sql`${identifier(table.updatedAt)} = ${records[0]?.updatedAt ?? null}::timestamptz`);
    // why: a trigger or policy of the table can skip a row without an error; then the division fails the statement (22012), so
    // that nothing is reported as applied that was not
    await db.query(sql`
      with updated as (
        update ${this.#table} as r set ${join(sets)}
        from unnest(${this.#idArray(records.map((one) => one.id))}${leadingComma(columns.map((one) => one.array))})
          as u(id${leadingComma(columns.map((one) => one.alias))})
        where ${this.#tenant('r.', tenantId)} and r.${this.#id} = u.id
        returning 1
      )
      select 1 / (count(*) = ${records.length})::int from updated`);
  }

  /** Inserts new records, in id order. Gives back the ids that were inserted; the others exist already. */
  async insert(db: Database, tenantId: string, records: readonly RecordState[]): Promise<Set<string>> {
    const { table, fields } = this.collection;
    const sorted = [...records].sort((left, right) => (left.id < right.id ? -1 : 1));
    const columns = [
      { column: this.#id, alias: raw('id'), array: this.#idArray(sorted.map((one) => one.id)) },
      ...[...fields.keys()].map((name) => this.#fieldColumn(name, sorted)),
    ];
    const constants: { column: Sql; value: Sql }[] = [];
    if (table.tenant) constants.push({ column: identifier(table.tenant), value: sql`${tenantId}` });
    if (table.version) constants.push({ column: identifier(table.version), value: sql`1` });
    const now = sorted[0]?.createdAt ?? null;
    if (table.createdAt) constants.push({ column: identifier(table.createdAt), value: sql`${now}::timestamptz` });
    if (table.updatedAt) constants.push({ column: identifier(table.updatedAt), value: sql`${now}::timestamptz` });
    const { rows } = await db.query<{ id: string }>(sql`
      insert into ${this.#table} (${join([...constants.map((one) => one.column), ...columns.map((one) => one.column)])})
      select ${join([...constants.map((one) => one.value), ...columns.map((one) => sql`u.${one.alias}`)])}
      from unnest(${join(columns.map((one) => one.array))}) as u(${join(columns.map((one) => one.alias))})
      on conflict (${join(this.#info.keyColumns.map(identifier))}) do nothing
      returning ${this.#id}::text as id`);
    return new Set(rows.map((row) => row.id));
  }

  /** One page in a stable order: sorted by `sort`, then by id, starting behind `after`. */
  async list(
    db: Database,
    tenantId: string,
    params: { where: JsonObject; sort: string; descending: boolean; after: Json[] | undefined; limit: number },
  ): Promise<RecordState[]> {
    const order = this.#sortColumn(params.sort);
    const direction = raw(params.descending ? 'desc' : 'asc');
    const compare = raw(params.descending ? '<' : '>');
    const byId = params.sort === this.collection.idField;
    let behind = empty;
    if (params.after) {
      const [value, id] = params.after;
      behind = byId
        ? sql`and ${this.#id} ${compare} ${id}::${raw(this.#info.idType)}`
        : sql`and (${order.column}, ${this.#id}) ${compare} (${value}::${raw(order.type)}, ${id}::${raw(this.#info.idType)})`;
    }
    const { rows } = await db.query<Row>(sql`
      select ${this.#all} from ${this.#table}
      where ${this.#tenant('', tenantId)} ${recordFilter(this.collection, params.where)} ${behind}
      order by ${byId ? empty : sql`${order.column} ${direction},`} ${this.#id} ${direction}
      limit ${params.limit}`);
    return rows.map((row) => this.#state(row, this.#aliases));
  }

  async count(db: Database, tenantId: string, where: JsonObject): Promise<number> {
    const { rows } = await db.query<{ count: number }>(sql`
      select count(*) as count from ${this.#table}
      where ${this.#tenant('', tenantId)} ${recordFilter(this.collection, where)}`);
    return rows[0]?.count ?? 0;
  }

  /** The first ids of a selection, in id order. */
  async selectIds(db: Database, tenantId: string, where: JsonObject, limit: number): Promise<string[]> {
    const { rows } = await db.query<{ id: string }>(sql`${this.#selection(tenantId, where)} limit ${limit}`);
    return rows.map((row) => row.id);
  }

  /** Reads the ids of a selection in id order, as it is at this moment, part by part. One at a time within a transaction. */
  openSelection(tx: Transaction, tenantId: string, where: JsonObject): { next(count: number): Promise<string[]> } {
    // why a cursor: the selection is searched and sorted once, not once for each part
    const opened = tx.query(sql`declare selection no scroll cursor for ${this.#selection(tenantId, where)}`);
    return {
      next: async (count) => {
        const [{ rows }] = await Promise.all([tx.query<{ id: string }>(raw(`fetch ${count} from selection`)), opened]);
        return rows.map((row) => row.id);
      },
    };
  }

  #selection(tenantId: string, where: JsonObject): Sql {
    return sql`
      select ${this.#id}::text as id from ${this.#table}
      where ${this.#tenant('', tenantId)} ${recordFilter(this.collection, where)}
      order by ${this.#id}`;
  }

  #select(tenantId: string, ids: readonly string[], fields: Fields): Sql {
    const known = ids.filter((id) => this.isPossibleId(id));
    return sql`select ${this.#columns(fields)} from ${this.#table}
      where ${this.#tenant('', tenantId)} and ${this.#id} = any(${this.#idArray(known)})`;
  }

  #columns(fields: Fields): Sql {
    return fields ? join([...this.#head, ...this.#aliasesOf(fields).map(({ column }) => column)]) : this.#all;
  }

  #aliasesOf(fields: Fields): readonly Alias[] {
    return fields ? this.#aliases.filter(({ name }) => fields.has(name)) : this.#aliases;
  }

  #tenant(alias: string, tenantId: string): Sql {
    const { tenant, onlyTenant } = this.collection.table;
    if (tenant) return sql`${raw(alias)}${identifier(tenant)} = ${tenantId}`;
    return sql`${onlyTenant} = ${tenantId}::text`;
  }

  #isTextId(): boolean {
    return this.#info.idType === 'text' || this.#info.idType === 'character varying';
  }

  /** Whether the id column can hold this text as it is. If not it names no record; sent all the same, it would fail the statement. */
  isPossibleId(id: string): boolean {
    if (this.#isTextId()) return !id.includes('\u0000') && id.isWellFormed();
    if (this.#info.idType === 'uuid') return /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(id);
    return (
      /^(0|-?[1-9]\d{0,17})$/.test(id) && (this.#info.idType === 'bigint' || Math.abs(Number(id)) <= 2_147_483_647)
    );
  }

  #idArray(ids: readonly string[]): Sql {
    return sql`${ids}::${raw(this.#info.idType)}[]`;
  }

  #fieldColumn(name: string, records: readonly RecordState[]): { column: Sql; alias: Sql; array: Sql } {
    const field = this.collection.fields.get(name);
    if (!field) throw new Error(`"${this.collection.name}" has no field "${name}".`);
    const type = this.#info.columnTypes.get(name) ?? 'text';
    const isJson = type === 'json' || type === 'jsonb';
    const values = records.map((record) => {
      const value = record.fields[name] ?? null;
      return isJson && value !== null ? JSON.stringify(value) : value;
    });
    const column = identifier(field.column);
    return {
      column,
      alias: raw(`f${[...this.collection.fields.keys()].indexOf(name)}`),
      array: sql`${values}::${raw(type)}[]`,
    };
  }

  #sortColumn(sort: string): { column: Sql; type: string } {
    const { table, fields } = this.collection;
    const field = fields.get(sort);
    if (field) {
      const type = this.#info.columnTypes.get(sort) ?? 'text';
      return { column: identifier(field.column), type };
    }
    if (sort === 'createdAt') return { column: identifier(table.createdAt as string), type: 'timestamptz' };
    if (sort === 'updatedAt') return { column: identifier(table.updatedAt as string), type: 'timestamptz' };
    return { column: this.#id, type: this.#info.idType };
  }

  #byId({ rows }: { rows: Row[] }, read: Fields): Map<string, RecordState> {
    const aliases = this.#aliasesOf(read);
    const records = new Map<string, RecordState>();
    for (const row of rows) records.set(row.id as string, this.#state(row, aliases));
    return records;
  }

  #state(row: Row, aliases: readonly Alias[]): RecordState {
    const fields: JsonObject = {};
    for (const { name, alias } of aliases) fields[name] = row[alias] as Json;
    for (const name of this.#numeric) if (typeof fields[name] === 'string') fields[name] = Number(fields[name]);
    return {
      id: row.id as string,
      version: (row.version as number | undefined) ?? null,
      fields,
      createdAt: (row.created_at as string | undefined) ?? null,
      updatedAt: (row.updated_at as string | undefined) ?? null,
    };
  }
}
