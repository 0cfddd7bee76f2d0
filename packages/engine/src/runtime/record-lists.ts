import { RequestError } from '../domain/codes.ts';
import type { RecordState } from '../domain/collection.ts';
import { decodeCursor, encodeCursor } from '../domain/cursor.ts';
import { parseJobId } from '../domain/ids.ts';
import type { Json, JsonObject } from '../domain/json.ts';
import { type HistoryEntry, listChanges } from '../storage/change-store.ts';
import type { Database } from '../storage/database.ts';
import { refusingDamagedCursor } from '../storage/errors.ts';
import type { Page } from './engine.ts';
import { pageOf } from './job-reader.ts';
import type { MountedCollection } from './mounts.ts';

interface ListParams {
  tenantId: string;
  where: JsonObject;
  sort?: string | undefined;
  limit: number;
  cursor?: string | undefined;
}

/** One page of records, and the cursor of the next. */
export async function listRecords(
  db: Database,
  mount: MountedCollection,
  params: ListParams,
): Promise<Page<RecordState>> {
  const { collection, store } = mount;
  const sort = params.sort ?? collection.idField;
  const descending = sort.startsWith('-');
  const by = descending ? sort.slice(1) : sort;
  if (!collection.sortable.includes(by)) {
    const known = collection.sortable.join(', ');
    throw new RequestError(
      'invalid_parameter',
      `Cannot sort by "${by}". Sort by one of: ${known}; with a leading - to descend.`,
      {
        errors: [{ pointer: '/sort', message: `Must be one of ${known}.` }],
      },
    );
  }
  const scope = JSON.stringify([
    collection.name,
    sort,
    Object.entries(params.where).sort(([left], [right]) => (left < right ? -1 : 1)),
  ]);
  const after = params.cursor === undefined ? undefined : decodeCursor(params.cursor, scope, ['value', 'text']);
  const page = { where: params.where, sort: by, descending, after, limit: params.limit + 1 };
  const records = await refusingDamagedCursor(params.cursor, store.list(db, params.tenantId, page));
  return pageOf(records, params.limit, (last) =>
    encodeCursor(scope, by === collection.idField ? [null, last.id] : [sortValue(last, by), last.id]),
  );
}

function sortValue(record: RecordState, by: string): Json {
  if (by === 'createdAt') return record.createdAt;
  if (by === 'updatedAt') return record.updatedAt;
  return record.fields[by] ?? null;
}

interface HistoryParams {
  tenantId: string;
  id: string;
  limit: number;
  cursor?: string | undefined;
}

/** Changes of one record, newest first. */
export async function history(
  db: Database,
  { collection }: MountedCollection,
  params: HistoryParams,
): Promise<Page<HistoryEntry>> {
  const { tenantId, id, limit, cursor } = params;
  const scope = JSON.stringify(['history', collection.name, id]);
  const [version, jobUuid, index] =
    cursor === undefined ? [] : decodeCursor(cursor, scope, ['integer', 'text', 'integer']);
  const after =
    cursor === undefined
      ? undefined
      : { version: version as number, jobUuid: jobUuid as string, index: index as number };
  const listed = listChanges(db, { tenantId, collection: collection.name, id, limit: limit + 1, after });
  const changes = await refusingDamagedCursor(cursor, listed);
  return pageOf(changes, limit, (last) =>
    encodeCursor(scope, [last.version ?? 0, parseJobId(last.jobId) as string, last.index]),
  );
}
