import type { Engine } from '@docket/engine';
import { firstTenant, type RunningServer } from './server.ts';

/** What a first start prints: the key, and a call that works as pasted. */
export async function describeFirstStart(server: RunningServer): Promise<string> {
  const key = server.newKey ?? '$DOCKET_ADMIN_KEY';
  const cases = await findOpenIncidents(server.engine);
  const lines: string[] = [];
  if (server.newKey !== undefined) {
    lines.push('', 'Your API key. It is shown only this once:', '', `  ${key}`);
  }
  if (cases.length > 0) {
    const updates = cases.map(({ caseId, status }) => `  {"caseId":"${caseId}","status":"${status}"}`);
    lines.push(
      '',
      `Try it: update ${cases.length} of the sample cases in one call:`,
      '',
      `curl -sS -X PATCH ${server.url}/api/v1/cases/bulk-update \\`,
      `  -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\`,
      "  -d '[",
      updates.join(',\n'),
      "  ]'",
    );
  } else {
    lines.push(
      '',
      'Try it: list your cases:',
      '',
      `curl -sS ${server.url}/api/v1/cases -H "Authorization: Bearer ${key}"`,
    );
  }
  lines.push('', `Reference: ${server.url}/docs`, '');
  return lines.join('\n');
}

/** Three incidents, each with a status that it may go to. */
async function findOpenIncidents(engine: Engine): Promise<{ caseId: string; status: string }[]> {
  const found: { caseId: string; status: string }[] = [];
  for (const [from, to] of [
    ['New', 'Active'],
    ['Active', 'Resolved'],
  ] as const) {
    if (found.length === 3) break;
    const { items } = await engine.listRecords({
      tenantId: firstTenant,
      collection: 'cases',
      where: { caseType: 'incident', status: from },
      limit: 3 - found.length,
    });
    found.push(...items.map(({ id }) => ({ caseId: id, status: to })));
  }
  return found;
}
