import type { BatchOperation, Item } from '../domain/batch.ts';
import { cancelledResults, type ItemResult } from '../domain/decide.ts';
import { encodeIdHashes, idFinder } from '../domain/id-hashes.ts';
import type { Summary } from '../domain/job.ts';
import { codesIn, type ResultFilter } from '../domain/result-filter.ts';
import { decodeBlob, encodeBlob } from './blob.ts';
import type { Database } from './database.ts';
import { empty, type Sql, sql } from './sql.ts';

/** Items of a chunk at most: enough to make one set-based statement worth it, few enough to commit often. */
export const chunkItems = 1_000;

export type Counts = Omit<Summary, 'total'>;

export function countResults(results: readonly ItemResult[]): Counts {
  const counts: Counts = { succeeded: 0, failed: 0, notProcessed: 0 };
  for (const { status } of results) counts[status === 'not_processed' ? 'notProcessed' : status] += 1;
  return counts;
}

export interface NewChunk {
  tenantId: string;
  /** UUID of the job. */
  jobUuid: string;
  chunkNo: number;
  firstIndex: number;
  items: readonly Item[];
  /** Given when the chunk was applied in the same transaction. */
  results?: readonly ItemResult[];
}

export async function insertChunk(db: Database, chunk: NewChunk): Promise<void> {
  const { results } = chunk;
  const counts = countResults(results ?? []);
  await db.query(sql`
    insert into docket.job_chunks (tenant_id, job_id, chunk_no, first_index, item_count, state, succeeded, failed,
      not_processed, codes, id_hashes, items, results)
    values (${chunk.tenantId}, ${chunk.jobUuid}, ${chunk.chunkNo}, ${chunk.firstIndex}, ${chunk.items.length},
      ${results ? 'done' : 'pending'}, ${counts.succeeded}, ${counts.failed}, ${counts.notProcessed},
      ${results ? codesIn(results) : null}::text[],
      ${results ? null : encodeIdHashes(chunk.items.map((item) => item.id))}, ${encodeBlob(chunk.items)}, ${results ? encodeBlob(results) : null})`);
}

/** A pending chunk of a running job, locked by this transaction, with what its job says of how to apply it. */
export interface ClaimedChunk {
  chunkNo: number;
  firstIndex: number;
  items: Item[];
  collection: string;
  operation: BatchOperation;
  dryRun: boolean;
  atomic: boolean;
  representation: boolean;
  failuresAllowed: number;
  actor: string;
  traceparent: string | null;
  /** Its job is being cancelled: it is not to be applied. */
  cancelRequested: boolean;
  /** Whether the job has chunks behind this one. */
  more: boolean;
}

interface ClaimRow {
  chunk_no: number;
  first_index: number;
  items: Buffer;
  collection: string;
  item_operation: BatchOperation;
  dry_run: boolean;
  atomic: boolean;
  representation: boolean;
  max_errors: number | null;
  failed: number;
  actor: string;
  traceparent: string | null;
  cancel_requested: boolean;
  total: number;
}

/**
 * Claims one pending chunk that nobody else is applying. Of a job whose chunks run in order, only the first pending one, and
 * only when no other worker has it. `except` are chunks that this worker waits with.
 */
export async function claimChunk(
  db: Database,
  tenantId: string,
  jobUuid: string,
  except: readonly number[],
): Promise<ClaimedChunk | undefined> {
  const { rows } = await db.query<ClaimRow>(sql`
    select c.chunk_no, c.first_index, c.items, j.collection, j.item_operation, j.dry_run, j.atomic,
      j.representation, j.max_errors, j.failed, j.actor, j.traceparent, j.cancel_requested, j.total
    from docket.job_chunks c
    join docket.jobs j on j.tenant_id = ${tenantId} and j.job_id = ${jobUuid} and j.status in ('pending', 'running')
    where c.tenant_id = ${tenantId} and c.job_id = ${jobUuid} and c.state = 'pending'
      and (j.cancel_requested or not (c.chunk_no = any(${except}::int[])))
      and (not j.ordered or c.chunk_no = (
        select min(first.chunk_no) from docket.job_chunks first
        where first.tenant_id = ${tenantId} and first.job_id = ${jobUuid} and first.state = 'pending'))
    order by c.chunk_no limit 1
    for update of c skip locked`);
  const row = rows[0];
  if (!row) return undefined;
  const items = decodeBlob<Item>(row.items);
  return {
    chunkNo: row.chunk_no,
    firstIndex: row.first_index,
    items,
    collection: row.collection,
    operation: row.item_operation,
    dryRun: row.dry_run,
    atomic: row.atomic,
    representation: row.representation,
    failuresAllowed: row.max_errors === null ? Number.POSITIVE_INFINITY : row.max_errors - row.failed,
    actor: row.actor,
    traceparent: row.traceparent,
    cancelRequested: row.cancel_requested,
    more: row.first_index + items.length < row.total,
  };
}

/** Records the results of a chunk that this transaction has claimed. */
export async function completeChunk(
  db: Database,
  params: { tenantId: string; jobUuid: string; chunkNo: number; results: readonly ItemResult[] },
): Promise<void> {
  const counts = countResults(params.results);
  const { rowCount } = await db.query(sql`
    update docket.job_chunks set state = 'done', results = ${encodeBlob(params.results)},
      succeeded = ${counts.succeeded}, failed = ${counts.failed}, not_processed = ${counts.notProcessed},
      codes = ${codesIn(params.results)}::text[]
    where tenant_id = ${params.tenantId} and job_id = ${params.jobUuid} and chunk_no = ${params.chunkNo} and state = 'pending'`);
  if (rowCount !== 1) throw new Error(`Chunk ${params.chunkNo} of job ${params.jobUuid} was not pending.`);
}

/** Leaves a chunk that this transaction has claimed unapplied, because its job is being cancelled. */
export async function cancelChunk(db: Database, tenantId: string, jobUuid: string, chunkNo: number): Promise<void> {
  await db.query(sql`
    update docket.job_chunks set state = 'cancelled', not_processed = item_count
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and chunk_no = ${chunkNo} and state = 'pending'`);
}

/**
 * Cancels the pending chunks of a job, except those that somebody is applying: these are not waited for. Gives back how many items
 * they hold. Chunks are locked before their job, as workers do.
 */
export async function cancelPendingChunks(db: Database, tenantId: string, jobUuid: string): Promise<number> {
  const { rows } = await db.query<{ items: number }>(sql`
    with free as (
      select chunk_no from docket.job_chunks
      where tenant_id = ${tenantId} and job_id = ${jobUuid} and state = 'pending'
        and exists (
          select 1 from docket.jobs
          where tenant_id = ${tenantId} and job_id = ${jobUuid} and status in ('pending', 'running', 'paused'))
      for update skip locked
    ), cancelled as (
      update docket.job_chunks c set state = 'cancelled', not_processed = c.item_count
      from free where c.tenant_id = ${tenantId} and c.job_id = ${jobUuid} and c.chunk_no = free.chunk_no
      returning c.item_count
    )
    select coalesce(sum(item_count), 0)::int as items from cancelled`);
  return rows[0]?.items ?? 0;
}

/** The results of a decided chunk, and what was asked of each item where that was asked for. */
export interface StoredChunk {
  chunkNo: number;
  firstIndex: number;
  items: Item[] | undefined;
  results: ItemResult[];
}

interface ReadResultsParams extends ResultFilter {
  tenantId: string;
  jobUuid: string;
  fromChunk: number;
}

/**
 * The first decided chunk at or behind `fromChunk` that may hold results which pass the filter: chunks that surely hold none are
 * neither read nor decompressed. All results of the chunk are given.
 */
export async function readResults(
  db: Database,
  params: ReadResultsParams & { withItems: true },
): Promise<(StoredChunk & { items: Item[] }) | undefined>;
export async function readResults(
  db: Database,
  params: ReadResultsParams & { withItems: boolean },
): Promise<StoredChunk | undefined>;
export async function readResults(
  db: Database,
  { tenantId, jobUuid, fromChunk, withItems, ...filter }: ReadResultsParams & { withItems: boolean },
): Promise<StoredChunk | undefined> {
  // why: a cancelled chunk stores no results; they follow from its items
  const { rows } = await db.query<{
    chunk_no: number;
    first_index: number;
    items: Buffer | null;
    results: Buffer | null;
  }>(sql`
    select chunk_no, first_index, case when ${withItems}::boolean or results is null then items end as items, results
    from docket.job_chunks
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and state <> 'pending' and chunk_no >= ${fromChunk}
      ${mayPass(filter)}
    order by chunk_no limit 1`);
  const row = rows[0];
  if (!row) return undefined;
  const items = row.items ? decodeBlob<Item>(row.items) : undefined;
  const results = row.results ? decodeBlob<ItemResult>(row.results) : cancelledResults(row.first_index, items ?? []);
  return { chunkNo: row.chunk_no, firstIndex: row.first_index, items, results };
}

/** A chunk that was decided, and whether some of its items failed. */
export interface ChunkOutcome {
  chunkNo: number;
  failed: boolean;
}

/** The decided chunks of a job, in order. */
export async function chunkOutcomes(db: Database, tenantId: string, jobUuid: string): Promise<ChunkOutcome[]> {
  const { rows } = await db.query<{ chunk_no: number; failed: boolean }>(sql`
    select chunk_no, failed > 0 as failed from docket.job_chunks
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and state <> 'pending' order by chunk_no`);
  return rows.map((row) => ({ chunkNo: row.chunk_no, failed: row.failed }));
}

const countOf = { succeeded: sql`succeeded`, failed: sql`failed`, not_processed: sql`not_processed` };

function mayPass({ status, codes }: ResultFilter): Sql {
  const byStatus = status === undefined ? empty : sql`and ${countOf[status]} > 0`;
  if (codes === undefined) return byStatus;
  const cancelled = codes.includes('cancelled');
  return sql`${byStatus}
    and case state when 'cancelled' then ${cancelled}::boolean else codes is null or codes && ${codes}::text[] end`;
}

/** Where ids are looked for: in one job, or in all open jobs on a collection that will change records. */
type PendingScope = { tenantId: string } & ({ jobUuid: string } | { collection: string });

/** Chunks whose hashes are looked at with one statement: some hundred kilobytes. */
const hashedAtOnce = 100;

/** The pending chunks that hold any of some ids, with those that they hold. Of each item, eight bytes are read. */
export async function* pendingChunksHolding(
  db: Database,
  scope: PendingScope,
  ids: readonly string[],
): AsyncGenerator<{ jobUuid: string; chunkNo: number; held: string[] }> {
  const find = idFinder(new Set(ids));
  for (let after: ChunkKey | undefined; ; ) {
    const page = await pendingHashes(db, scope, after);
    for (const { job_id: jobUuid, chunk_no: chunkNo, id_hashes } of page) {
      const held = find(id_hashes ?? (await hashPendingItems(db, { tenantId: scope.tenantId, jobUuid, chunkNo })));
      if (held.length > 0) yield { jobUuid, chunkNo, held };
    }
    after = page.at(-1);
    if (page.length < hashedAtOnce) return;
  }
}

interface ChunkKey {
  job_id: string;
  chunk_no: number;
}

async function pendingHashes(
  db: Database,
  scope: PendingScope,
  after: ChunkKey | undefined,
): Promise<(ChunkKey & { id_hashes: Buffer | null })[]> {
  const { tenantId } = scope;
  const behind = after ? sql`and (c.job_id, c.chunk_no) > (${after.job_id}::uuid, ${after.chunk_no}::int)` : empty;
  const jobs =
    'jobUuid' in scope
      ? sql`c.job_id = ${scope.jobUuid}`
      : sql`c.job_id in (
          select job_id from docket.jobs
          where tenant_id = ${tenantId} and collection = ${scope.collection} and status in ('pending', 'running', 'paused')
            and not dry_run)`;
  const { rows } = await db.query<ChunkKey & { id_hashes: Buffer | null }>(sql`
    select c.job_id, c.chunk_no, c.id_hashes from docket.job_chunks c
    where c.tenant_id = ${tenantId} and c.state = 'pending' and ${jobs} ${behind}
    order by c.job_id, c.chunk_no limit ${hashedAtOnce}`);
  return rows;
}

/** The hashes of a chunk that a program of the version before has written without them; none when it does not wait any more. */
async function hashPendingItems(
  db: Database,
  { tenantId, jobUuid, chunkNo }: { tenantId: string; jobUuid: string; chunkNo: number },
): Promise<Buffer> {
  const { rows } = await db.query<{ items: Buffer }>(sql`
    select items from docket.job_chunks
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and chunk_no = ${chunkNo} and state = 'pending'`);
  return encodeIdHashes(rows[0] ? decodeBlob<Item>(rows[0].items).map((item) => item.id) : []);
}

export async function arePending(
  db: Database,
  tenantId: string,
  jobUuid: string,
  chunks: readonly number[],
): Promise<boolean> {
  const { rows } = await db.query(sql`
    select 1 from docket.job_chunks
    where tenant_id = ${tenantId} and job_id = ${jobUuid} and state = 'pending' and chunk_no = any(${chunks}::int[]) limit 1`);
  return rows.length > 0;
}
