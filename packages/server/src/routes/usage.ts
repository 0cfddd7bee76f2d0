import { Type } from 'typebox';
import type { Api, Deps } from '../http/api.ts';

const Counts = {
  batches: Type.Integer({ description: 'Batches, writes of single records and dry runs among them.' }),
  items: Type.Integer({ description: 'Their items, whatever became of them.' }),
  credits: Type.Number({ description: 'What they cost; dry runs cost nothing.' }),
};

const UsageSchema = Type.Object(
  {
    month: Type.String({ description: 'UTC.', pattern: '^\\d{4}-\\d\\d$' }),
    days: Type.Array(Type.Object({ day: Type.String({ format: 'date', description: 'UTC.' }), ...Counts }), {
      description: 'Every day that has begun, the first one first.',
    }),
    total: Type.Object(Counts),
  },
  {
    description: 'The month by day.',
    examples: [
      {
        month: '2026-11',
        days: [
          { day: '2026-11-01', batches: 3, items: 1202, credits: 603 },
          { day: '2026-11-02', batches: 1, items: 1, credits: 1 },
        ],
        total: { batches: 4, items: 1203, credits: 604 },
      },
    ],
  },
);

/** GET /usage: what was sent, and what it cost. */
export function registerUsageRoute(app: Api, { engine }: Deps): void {
  app.get(
    '/usage',
    {
      schema: {
        tags: ['service'],
        summary: 'What was sent in a month, by day',
        description:
          'A batch is counted when it is taken, once, with all of its items and whatever becomes of them; an upload when it has ended. ' +
          'A batch costs 1 credit and 0.5 for each item, a write of a single record 1, unless the server was told otherwise. Dry ' +
          'runs are counted and cost nothing. What was refused, or repeated with the same `Idempotency-Key`, is not counted. ' +
          'Kept for 13 months.',
        querystring: Type.Object({
          month: Type.Optional(
            Type.String({ description: 'As `2026-11`. Default: the current month, UTC.', examples: ['2026-11'] }),
          ),
        }),
        response: { 200: UsageSchema },
      },
    },
    async (request) => await engine.usage({ tenantId: request.caller.tenantId, month: request.query.month }),
  );
}
