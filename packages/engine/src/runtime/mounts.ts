import { RequestError } from '../domain/codes.ts';
import type { Collection } from '../domain/collection.ts';
import type { Database } from '../storage/database.ts';
import { RecordStore } from '../storage/record-store.ts';
import { inspectTable, TableError } from '../storage/table-check.ts';
import type { AnyCollectionMount } from './engine.ts';

/** A collection whose table has been checked, ready to be read and written. */
export interface MountedCollection {
  collection: Collection<never>;
  store: RecordStore;
  loadContext: (db: Database, tenantId: string) => Promise<unknown>;
}

/** Checks every collection's table against its definition. Throws one TableError that names every difference. */
export async function mountCollections(
  db: Database,
  mounts: readonly AnyCollectionMount[],
): Promise<Map<string, MountedCollection>> {
  const problems: string[] = [];
  const mounted = new Map<string, MountedCollection>();
  for (const { collection, loadContext } of mounts) {
    const { info, problems: found } = await inspectTable(db, collection);
    problems.push(...found.map((problem) => `collection "${collection.name}": ${problem}`));
    mounted.set(collection.name, {
      collection,
      store: new RecordStore(collection, info),
      loadContext: loadContext ?? (async () => undefined),
    });
  }
  if (problems.length > 0) {
    throw new TableError(`The tables do not fit the definitions of the collections:\n- ${problems.join('\n- ')}`);
  }
  return mounted;
}

/** Throws `unknown_collection`. A table without a tenant column is known to its one tenant only. */
export function findMount(
  mounts: ReadonlyMap<string, MountedCollection>,
  tenantId: string,
  name: string,
): MountedCollection {
  const mount = mounts.get(name);
  const onlyTenant = mount?.collection.table.onlyTenant;
  if (mount && (onlyTenant === undefined || onlyTenant === tenantId)) return mount;
  const known = [...mounts.keys()].join(', ');
  throw new RequestError('unknown_collection', `There is no collection "${name}". The collections are: ${known}.`);
}
