import type { BatchOperation, Item } from './batch.ts';
import type { Collection } from './collection.ts';

/**
 * The fields of records that deciding these items looks at; undefined: all that there is of a record. Those that any of the items names
 * are among them for all records, since they are written together.
 */
export function fieldsRead({
  collection,
  operation,
  items,
  representation,
}: {
  collection: Collection<never>;
  operation: BatchOperation;
  items: readonly Item[];
  representation: boolean;
}): ReadonlySet<string> | undefined {
  // why none: of a record that is to be created, it is only asked whether it is there
  if (operation === 'create') return new Set();
  if (representation || !collection.rulesRead) return undefined;
  const names = new Set(collection.rulesRead);
  for (const { fields, expect } of items) {
    for (const name in fields) names.add(name);
    for (const name in expect) names.add(name);
  }
  return names;
}
