import type { ItemResult } from '../domain/decide.ts';
import { presentJobId } from '../domain/ids.ts';
import type { Database } from '../storage/database.ts';
import { endedJob } from '../storage/job-store.ts';
import type { Effect, EngineOptions } from './engine.ts';

/** Tells the embedding program, inside a transaction, what it does to a job and to records; see `EngineOptions.recordEffect`. */
export type TellEffect = (
  db: Database,
  job: { tenantId: string; jobUuid: string },
  effect: {
    changed?: Effect['changed'];
    /** The job may end with this transaction; it had not ended before. */
    mayEnd: boolean;
  },
) => Promise<unknown> | undefined;

export function effectTeller(recordEffect: EngineOptions['recordEffect']): TellEffect {
  return (db, { tenantId, jobUuid }, { changed, mayEnd }) => {
    if (!recordEffect || !(changed || mayEnd)) return undefined;
    return recordEffect(db, {
      tenantId,
      jobId: presentJobId(jobUuid),
      changed,
      endedJob: mayEnd ? endedJob(tenantId, jobUuid) : undefined,
    });
  };
}

/** For a job that surely ends. */
export function tellEnd(tellEffect: TellEffect) {
  return (db: Database, job: { tenantId: string; jobUuid: string }) => tellEffect(db, job, { mayEnd: true });
}

/** The records that results say were changed. */
export function changedBy(
  { collection, traceparent, dryRun }: { collection: string; traceparent: string | null; dryRun: boolean },
  results: readonly ItemResult[],
): Effect['changed'] {
  if (dryRun) return undefined;
  const ids = new Set<string>();
  for (const result of results) if (result.changed && !result.replayed) ids.add(result.id);
  return ids.size > 0 ? { collection, ids: [...ids], traceparent } : undefined;
}
