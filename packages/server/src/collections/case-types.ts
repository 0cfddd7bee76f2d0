import { type Database, type JsonObject, type Lifecycle, sql } from '@docket/engine';
import { LRUCache } from 'lru-cache';
import { incidentLifecycle } from '../incidents/lifecycle.ts';
import { compileDataSchema, type DataCheck, SchemaRefusal } from './data-schema.ts';

/** A kind of case: its statuses, the moves between them, and what its `data` must look like. */
export interface CaseType {
  name: string;
  lifecycle: Lifecycle;
  /** JSON Schema, draft 2020-12. */
  dataSchema: JsonObject | null;
  /** Undefined where there is no schema. */
  dataCheck: DataCheck | undefined;
  /** Comes with the program and was not replaced by the tenant. */
  builtIn: boolean;
}

export type CaseTypes = ReadonlyMap<string, CaseType>;

const workStatuses = ['In Progress', 'Under Review', 'On Hold'];
const movesOf = (status: string) => [...workStatuses.filter((other) => other !== status), 'Resolved', 'Cancelled'];

const generalLifecycle: Lifecycle = {
  statuses: ['New', ...workStatuses, 'Resolved', 'Closed', 'Cancelled'],
  initial: 'New',
  transitions: {
    New: movesOf('New'),
    ...Object.fromEntries(workStatuses.map((status) => [status, movesOf(status)])),
    Resolved: ['Closed', 'In Progress'],
    Closed: ['In Progress'],
  },
};

function builtIn(name: string, lifecycle: Lifecycle): [string, CaseType] {
  return [name, { name, lifecycle, dataSchema: null, dataCheck: undefined, builtIn: true }];
}

const builtInCaseTypes: CaseTypes = new Map([
  builtIn('general', generalLifecycle),
  builtIn('incident', incidentLifecycle),
]);

interface Row {
  name: string;
  revision: string;
  statuses: string[];
  initial_status: string;
  transitions: Record<string, string[]>;
  data_schema: JsonObject | null;
}

// why: a chunk needs the types it read to be the present ones, but not to read and compile them again
const byRevision = new LRUCache<string, CaseType>({ max: 1_000 });

/**
 * The case types of a tenant as they are now. Within a transaction they stay so until it ends: `lockCaseTypes` waits for it, so
 * that no case is written by the rules of a type that has changed meanwhile.
 */
export async function loadCaseTypes(db: Database, tenantId: string): Promise<CaseTypes> {
  const [, { rows }] = await Promise.all([
    db.query(sql`select pg_advisory_xact_lock_shared(hashtextextended(${lockName(tenantId)}, 0))`),
    db.query<Pick<Row, 'name' | 'revision'>>(sql`
      select name, revision from docket.case_types where tenant_id = ${tenantId} order by name`),
  ]);
  if (rows.length === 0) return builtInCaseTypes;
  const missing = rows.filter(({ revision }) => !byRevision.has(revision)).map(({ name }) => name);
  const read = new Map<string, CaseType>();
  if (missing.length > 0) {
    const found = await db.query<Row>(sql`
      select name, revision, statuses, initial_status, transitions, data_schema from docket.case_types
      where tenant_id = ${tenantId} and name = any(${missing}::text[])`);
    for (const row of found.rows) {
      const type = toCaseType(row);
      byRevision.set(row.revision, type);
      read.set(row.name, type);
    }
  }
  const types = new Map(builtInCaseTypes);
  for (const { name, revision } of rows) {
    const type = read.get(name) ?? byRevision.get(revision);
    if (type) types.set(name, type);
  }
  return types;
}

/** Waits until no transaction works with the tenant's case types, and keeps them from it until this one ends. */
export async function lockCaseTypes(tx: Database, tenantId: string): Promise<void> {
  await tx.query(sql`select pg_advisory_xact_lock(hashtextextended(${lockName(tenantId)}, 0))`);
}

function lockName(tenantId: string): string {
  return `docket.case_types ${tenantId}`;
}

/** How many cases of a type are in each of these statuses; those in which there is none are left out. */
export async function countCasesIn(
  db: Database,
  { tenantId, name, statuses }: { tenantId: string; name: string; statuses: readonly string[] },
): Promise<Map<string, number>> {
  const { rows } = await db.query<{ status: string; count: number }>(sql`
    select status, count(*) as count from docket.cases
    where tenant_id = ${tenantId} and status = any(${statuses}::text[]) and case_type = ${name}
    group by status order by status`);
  return new Map(rows.map(({ status, count }) => [status, count]));
}

/** Adds or replaces a case type. */
export async function storeCaseType(
  db: Database,
  tenantId: string,
  { name, lifecycle, dataSchema }: Pick<CaseType, 'name' | 'lifecycle' | 'dataSchema'>,
): Promise<void> {
  const schemaText = dataSchema && JSON.stringify(dataSchema);
  await db.query(sql`
    insert into docket.case_types (tenant_id, name, revision, statuses, initial_status, transitions, data_schema)
    values (${tenantId}, ${name}, gen_random_uuid(), ${[...lifecycle.statuses]}::text[], ${lifecycle.initial},
      ${JSON.stringify(lifecycle.transitions)}::jsonb, ${schemaText}::json)
    on conflict (tenant_id, name) do update set revision = excluded.revision, statuses = excluded.statuses,
      initial_status = excluded.initial_status, transitions = excluded.transitions, data_schema = excluded.data_schema,
      updated_at = now()`);
}

function toCaseType(row: Row): CaseType {
  return {
    name: row.name,
    lifecycle: { statuses: row.statuses, initial: row.initial_status, transitions: row.transitions },
    dataSchema: row.data_schema,
    dataCheck: row.data_schema ? lazily(row.data_schema) : undefined,
    builtIn: false,
  };
}

// why: most transactions touch no data, so they need not pay for the compilation
function lazily(schema: JsonObject): DataCheck {
  let check: DataCheck | undefined;
  return (data) => {
    check ??= compileOrRefuse(schema);
    return check(data);
  };
}

function compileOrRefuse(schema: JsonObject): DataCheck {
  try {
    return compileDataSchema(schema);
  } catch (error) {
    if (!(error instanceof SchemaRefusal)) throw error;
    return () => ({
      pointer: '',
      message: `cannot be checked: the JSON Schema of its case type is refused. ${error.message}`,
    });
  }
}
