import {
  type CollectionMount,
  createEngine,
  defineCollection,
  type Engine,
  type EngineOptions,
  type ItemResult,
  type Json,
  parseBatch,
  type Submission,
  type SubmitOutcome,
} from '@docket/engine';
import pg from 'pg';
import Type from 'typebox';
import { createDatabase } from '../../../test/database.ts';

/** A table as a user of the library would have it: its own constraints, a trigger, a lifecycle. */
export const widgets = defineCollection({
  name: 'widgets',
  idField: 'widgetId',
  table: {
    name: 'public.widgets',
    id: 'widget_id',
    tenant: 'tenant_id',
    version: 'version',
    createdAt: 'created_at',
    updatedAt: 'updated_at',
  },
  fields: Type.Object({
    name: Type.String({ minLength: 1, maxLength: 100 }),
    status: Type.String(),
    size: Type.Integer({ minimum: 0 }),
    note: Type.Optional(Type.String()),
    tags: Type.Object({}, { additionalProperties: true }),
  }),
  defaults: { size: 0, tags: {} },
  lifecycle: {
    field: 'status',
    of: {
      statuses: ['draft', 'active', 'retired'],
      initial: 'draft',
      transitions: { draft: ['active'], active: ['retired', 'draft'] },
    },
  },
  filters: {
    status: { op: 'equals', field: 'status' },
    size: { op: 'equals', field: 'size' },
    updatedSince: { op: 'atLeast', field: 'updatedAt' },
    q: { op: 'contains', fields: ['widgetId', 'name'] },
  },
  sortable: ['name', 'size'],
});

/** A table without tenant, version or times: only what the engine cannot do without. */
export const gadgets = defineCollection({
  name: 'gadgets',
  idField: 'gadgetId',
  table: { name: 'gadgets', id: 'id', onlyTenant: 'acme' },
  fields: Type.Object({ label: Type.String(), count: Type.Integer() }),
});

const tables = `
  create table widgets (
    tenant_id text not null, widget_id text not null, name text not null, status text not null,
    size integer not null check (size <> 13), note text, tags jsonb not null, version integer not null,
    created_at timestamptz not null, updated_at timestamptz not null,
    primary key (tenant_id, widget_id),
    constraint widgets_name_once unique (tenant_id, name) deferrable initially deferred
  );
  create function skip_frozen() returns trigger language plpgsql as $$
    begin if old.note = 'frozen' then return null; end if; return new; end $$;
  create trigger frozen before update on widgets for each row execute function skip_frozen();
  create table gadgets (id integer primary key, label text not null, count integer not null);`;

export const silent = { info() {}, warn() {}, error() {} };

export interface Fixture {
  engine: Engine;
  url: string;
  /** A connection of the test's own, past the engine. */
  sql: pg.Pool;
  createEngine(options?: Partial<EngineOptions>): Promise<Engine>;
  /** Writes widgets straight into the table: w0, w1, ... */
  seed(count: number, options?: { status?: string; tenantId?: string }): Promise<string[]>;
  /** The same in an empty table, without the changes of the records that were there. */
  reseed(count: number, options?: { status?: string; tenantId?: string }): Promise<string[]>;
  submit(body: Json, rest?: Partial<Submission>): ReturnType<Engine['submit']>;
  close(): Promise<void>;
}

/** An engine over a database of its own. */
export async function openFixture(options: Partial<EngineOptions> = {}): Promise<Fixture> {
  const database = await createDatabase();
  const sql = new pg.Pool({ connectionString: database.url, max: 5 });
  sql.on('error', () => {});
  await sql.query(tables);
  const engines: Engine[] = [];
  const mounts: CollectionMount<never>[] = [{ collection: widgets }, { collection: gadgets }] as never;
  const open = async (more: Partial<EngineOptions> = {}) => {
    const engine = createEngine({
      databaseUrl: database.url,
      collections: mounts,
      logger: silent,
      ...options,
      ...more,
    });
    engines.push(engine);
    await engine.migrate();
    await engine.checkTables();
    return engine;
  };
  const engine = await open();
  const seed: Fixture['seed'] = async (count, { status = 'draft', tenantId = 'acme' } = {}) => {
    await sql.query(
      `insert into widgets select $1, 'w' || n, 'name ' || n, $2, 1, null, '{}', 1, now(), now() from generate_series(0, $3::int - 1) n`,
      [tenantId, status, count],
    );
    return Array.from({ length: count }, (_, index) => `w${index}`);
  };
  return {
    engine,
    url: database.url,
    sql,
    createEngine: open,
    seed,
    reseed: async (count, options) => {
      await sql.query(
        'truncate widgets, docket.changes, docket.jobs, docket.job_chunks, docket.item_keys, docket.runnable_jobs, docket.usage',
      );
      return await seed(count, options);
    },
    submit: (body, rest = {}) => engine.submit(submissionOf(engine, body, rest)),
    close: async () => {
      await Promise.all(engines.map((one) => one.stop()));
      await sql.end();
      await database.drop();
    },
  };
}

/** The results of a submission that is answered with all of them. */
export async function resultsOf(outcome: Promise<SubmitOutcome>): Promise<ItemResult[]> {
  const answer = await outcome;
  if (answer.kind !== 'results' || answer.results === null) throw new Error('The answer holds no results.');
  return answer.results;
}

/** Each result in a word: its code, or whether the record changed. */
export function verdicts(results: readonly ItemResult[]): string[] {
  return results.map((one) => one.error?.code ?? (one.changed ? 'changed' : 'unchanged'));
}

export function submissionOf(engine: Engine, body: Json, rest: Partial<Submission> = {}): Submission {
  const collection = rest.collection ?? 'widgets';
  const operation = rest.operation ?? 'update';
  let made = 0;
  const parsed = parseBatch({
    collection: engine.collections.get(collection) as never,
    operation,
    body,
    bodyBytes: 0,
    limits: engine.limits,
    newId: () => `made-${made++}`,
  });
  return { tenantId: 'acme', actor: 'tester', collection, operation, ...parsed, ...rest };
}
