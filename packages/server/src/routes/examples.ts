import type { Collection, Json, JsonObject } from '@docket/engine';

/** What the reference shows for a collection. */
export interface Examples {
  id: string;
  record: JsonObject;
  creation: JsonObject;
  patch: JsonObject;
  change: JsonObject;
}

const created = '2026-05-04T09:12:31.113Z';
const changed = '2026-05-04T09:20:02.871Z';

const caseFields: JsonObject = {
  caseType: 'general',
  title: 'Printer on floor 3 is out of order',
  status: 'Under Review',
  priority: 'normal',
  assignee: 'kim',
  data: { floor: 3 },
};
const orderFields: JsonObject = { status: 'paid', customer: 'ACME', amount: 129.5, currency: 'EUR', note: null };

const known: Record<string, { id: string; fields: JsonObject; before: JsonObject }> = {
  cases: { id: 'CASE-001', fields: caseFields, before: { status: 'In Progress' } },
  orders: { id: 'ord_123', fields: orderFields, before: { status: 'pending' } },
};

/** Examples of a collection: written for the built-in ones, made from the schema for others. */
export function examplesOf(collection: Collection<never>): Examples {
  const { id, fields, before } = known[collection.name] ?? { id: 'abc', ...madeUp(collection) };
  const after = Object.fromEntries(Object.keys(before).map((name) => [name, fields[name] ?? null]));
  const { table, idField } = collection;
  const record: JsonObject = { [idField]: id, ...fields };
  if (table.version) record.version = 4;
  if (table.createdAt) record.createdAt = created;
  if (table.updatedAt) record.updatedAt = changed;
  return {
    id,
    record,
    creation: { [idField]: id, ...withoutNulls(fields) },
    patch: after,
    change: {
      version: table.version ? 4 : null,
      jobId: 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
      index: 0,
      actor: 'admin',
      changedAt: changed,
      before,
      after,
    },
  };
}

function madeUp(collection: Collection<never>): { fields: JsonObject; before: JsonObject } {
  const fields: JsonObject = {};
  for (const { name, schema, default: usual } of collection.fields.values()) {
    const { type, enum: values } = schema as { type?: string; enum?: Json[] };
    fields[name] = usual ?? values?.[0] ?? sampleOf(type);
  }
  const [first = ''] = Object.keys(fields);
  return { fields, before: { [first]: null } };
}

function sampleOf(type: string | undefined): Json {
  if (type === 'string') return 'text';
  if (type === 'number' || type === 'integer') return 1;
  if (type === 'boolean') return true;
  if (type === 'array') return [];
  return type === 'object' ? {} : null;
}

function withoutNulls(fields: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}
