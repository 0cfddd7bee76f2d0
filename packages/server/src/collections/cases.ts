import {
  type CheckInput,
  type CollectionMount,
  defineCollection,
  type JsonObject,
  type Lifecycle,
  type Rejection,
} from '@docket/engine';
import { Type } from 'typebox';
import { type CaseTypes, loadCaseTypes } from './case-types.ts';

const priorities = ['low', 'normal', 'high', 'urgent'];

/** Cases: records whose lifecycle and `data` are those of their case type. */
const collection = defineCollection({
  name: 'cases',
  idField: 'caseId',
  table: {
    name: 'docket.cases',
    id: 'case_id',
    tenant: 'tenant_id',
    version: 'version',
    createdAt: 'created_at',
    updatedAt: 'updated_at',
  },
  fields: Type.Object({
    caseType: Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'Chooses the lifecycle; stays as it was at creation.',
    }),
    title: Type.String({ minLength: 1, maxLength: 500 }),
    status: Type.String({ minLength: 1, maxLength: 100, description: "One of the case type's statuses." }),
    priority: Type.Enum(priorities, { type: 'string' }),
    assignee: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    data: Type.Object(
      {},
      {
        additionalProperties: true,
        description: "Whatever else there is to say; the case type's JSON Schema may set rules.",
      },
    ),
  }),
  createOnly: ['caseType'],
  defaults: { caseType: 'general', priority: 'normal', data: {} },
  lifecycle: { field: 'status', of: lifecycleOf },
  check: checkCase,
  rulesRead: ['caseType'],
  filters: {
    status: { op: 'equals', field: 'status' },
    assignee: { op: 'equals', field: 'assignee' },
    priority: { op: 'equals', field: 'priority' },
    caseType: { op: 'equals', field: 'caseType' },
    updatedSince: { op: 'atLeast', field: 'updatedAt' },
    q: { op: 'contains', fields: ['caseId', 'title'] },
  },
  sortable: ['title', 'status', 'priority'],
});

export const cases: CollectionMount<CaseTypes> = { collection, loadContext: loadCaseTypes };

function lifecycleOf({ caseType, status }: JsonObject, types: CaseTypes): Lifecycle {
  const known = types.get(caseType as string);
  if (known) return known.lifecycle;
  // why: an unknown type is told by `checkCase` as what it is, not as a status that its lifecycle lacks
  const any = typeof status === 'string' ? status : 'New';
  return { statuses: [any], initial: any, transitions: {} };
}

function checkCase({ after, changed, context }: CheckInput<CaseTypes>): Rejection | undefined {
  const name = after.fields.caseType as string;
  const type = context.get(name);
  if (!type) {
    const known = [...context.keys()].join(', ');
    const message = `There is no case type ${JSON.stringify(name)}. The case types are: ${known}.`;
    return changed.includes('caseType') ? { code: 'validation_failed', message, field: 'caseType' } : undefined;
  }
  if (!type.dataCheck || !changed.includes('data')) return undefined;
  const problem = type.dataCheck(after.fields.data as JsonObject);
  return problem && { code: 'validation_failed', message: `data${problem.pointer} ${problem.message}.`, field: 'data' };
}
