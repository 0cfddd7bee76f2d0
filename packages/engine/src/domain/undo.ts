import type { Item } from './batch.ts';
import type { Change } from './decide.ts';
import type { JsonObject } from './json.ts';

/**
 * The item that gives a record the values back which it had before these changes of it (oldest first, none of them its
 * creation), unless anything has changed it since.
 */
export function undoItem(changes: readonly Change[]): Item {
  const last = changes.at(-1) as Change;
  const fields: JsonObject = {};
  const left: JsonObject = {};
  for (const { before, after } of changes) {
    for (const name of Object.keys(after)) if (!Object.hasOwn(fields, name)) fields[name] = before?.[name] ?? null;
    Object.assign(left, after);
  }
  const item: Item = { id: last.id, fields, restore: true };
  // why: without a version, only the values can tell whether the record changed since
  return last.version === null ? { ...item, expect: left } : { ...item, version: last.version };
}
