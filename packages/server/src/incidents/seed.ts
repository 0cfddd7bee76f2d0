import { type Engine, type Item, type JsonObject, parseOptions, sql } from '@docket/engine';
import { readIncidentEvents } from './event-log.ts';
import { firstStates } from './replay.ts';

const batchSize = 500;

/** Loads the sample incidents as cases in their first state. Answers how many were added; those that exist stay as they are. */
export async function seedIncidents(engine: Engine, tenantId: string): Promise<number> {
  const items = firstStates(await readIncidentEvents()).map(({ caseId, ...fields }): Item => {
    return { id: caseId, fields: fields as JsonObject };
  });
  let added = 0;
  for (let start = 0; start < items.length; start += batchSize) {
    const outcome = await engine.submit({
      tenantId,
      actor: 'sample data',
      collection: 'cases',
      operation: 'create',
      content: { kind: 'items', items: items.slice(start, start + batchSize) },
      options: parseOptions({ mode: 'sync', return: 'minimal', label: 'sample data' }, engine.limits),
    });
    if (outcome.kind !== 'results' || !outcome.results) throw new Error('The sample data could not be loaded in time.');
    const wrong = outcome.results.find(({ error }) => error && error.code !== 'already_exists');
    if (wrong) throw new Error(`The sample case ${wrong.id} could not be loaded: ${wrong.error?.message}`);
    added += outcome.job.summary.succeeded;
  }
  // why: without statistics the planner takes the new table for empty, and reads by the wrong index until it is analyzed
  await engine.pool.query(sql`analyze docket.cases`);
  return added;
}
