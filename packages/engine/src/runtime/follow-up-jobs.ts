import { v7 as uuidv7 } from 'uuid';
import type { Item } from '../domain/batch.ts';
import { RequestError } from '../domain/codes.ts';
import type { ItemResult } from '../domain/decide.ts';
import { parseJobId } from '../domain/ids.ts';
import { isTerminal, type Job } from '../domain/job.ts';
import { insertChunk, readResults } from '../storage/chunk-store.ts';
import type { Pool } from '../storage/database.ts';
import { findApplication, insertJob, makeRunnable } from '../storage/job-store.ts';
import type { Caller } from './engine.ts';
import type { JobReader } from './job-reader.ts';

export interface ApplyPreviewDeps {
  pool: Pool;
  jobs: JobReader;
  jobTtlSeconds: number;
}

/**
 * Makes the job that applies exactly what a preview showed: each item only if its record is as the preview saw it, and items
 * that failed there fail here for the same reason. A preview is applied once; asked again, its job is given back.
 */
export async function applyPreview(
  { pool, jobs, jobTtlSeconds }: ApplyPreviewDeps,
  caller: Caller,
  jobId: string,
): Promise<Job> {
  const { tenantId, actor } = caller;
  const preview = await jobs.get(tenantId, jobId);
  if (!preview.dryRun)
    throw new RequestError('job_conflict', 'Only a dry run can be applied; this job has changed records already.');
  if (!isTerminal(preview.status)) {
    throw new RequestError('job_conflict', 'The dry run has not ended yet. Wait for it, then apply it.', {
      retryAfter: 1,
    });
  }
  const previewUuid = parseJobId(jobId) as string;
  const jobUuid = uuidv7();
  return await pool.transaction(async (tx) => {
    const applied = await findApplication(tx, tenantId, previewUuid);
    if (applied) return applied;
    const { total } = preview.summary;
    let ordered = false;
    const seen = new Set<string>();
    for (let fromChunk = 0; ; fromChunk++) {
      const chunk = await readResults(tx, { tenantId, jobUuid: previewUuid, fromChunk, status: undefined });
      if (!chunk) break;
      const items = chunk.items.map((item, offset) => asPreviewed(item, chunk.results[offset] as ItemResult));
      for (const { id } of items) ordered ||= seen.size === seen.add(id).size;
      await insertChunk(tx, { tenantId, jobUuid, chunkNo: chunk.chunkNo, firstIndex: chunk.firstIndex, items });
    }
    const [job] = await Promise.all([
      insertJob(tx, {
        id: jobUuid,
        tenantId,
        collection: preview.collection,
        operation: 'apply',
        operationName: preview.operationName,
        itemOperation: preview.operation.startsWith('create') ? 'create' : 'update',
        status: total === 0 ? 'completed' : 'pending',
        priority: preview.priority,
        label: preview.label,
        dryRun: false,
        atomic: preview.atomic,
        representation: preview.representation,
        synchronous: false,
        ordered,
        maxErrors: null,
        actor,
        parentId: previewUuid,
        traceparent: null,
        summary: { total, succeeded: 0, failed: 0, notProcessed: 0 },
        ttlSeconds: jobTtlSeconds,
      }),
      total > 0 && makeRunnable(tx, tenantId, jobUuid, preview.priority),
      tx.commit(),
    ]);
    return job;
  });
}

/** The item, guarded by what the preview saw of its record. */
function asPreviewed(item: Item, result: ItemResult): Item {
  const { version: _, ...kept } = item;
  if (result.status !== 'succeeded') {
    return {
      ...kept,
      verdict: result.error ?? { code: 'stopped', message: 'Not processed in the dry run.', field: null },
    };
  }
  if (result.version !== undefined && result.before !== null) {
    return { ...kept, version: result.changed ? result.version - 1 : result.version };
  }
  return result.before ? { ...kept, expect: result.before } : kept;
}
