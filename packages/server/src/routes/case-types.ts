import { type JsonObject, type Lifecycle, lifecycleProblems } from '@docket/engine';
import { Type } from 'typebox';
import { type CaseType, countCasesIn, loadCaseTypes, lockCaseTypes, storeCaseType } from '../collections/case-types.ts';
import { compileDataSchema, SchemaRefusal, schemaBytes } from '../collections/data-schema.ts';
import type { Api, Deps } from '../http/api.ts';
import { ApiError } from '../http/problems.ts';
import { basePath } from './job-view.ts';
import { nullable, pageSchema } from './schemas.ts';

const mostTypes = 100;

const Status = Type.String({ minLength: 1, maxLength: 100 });

const definition = {
  statuses: Type.Array(Status, { minItems: 1, maxItems: 100, description: 'All statuses there are.' }),
  transitions: Type.Record(Type.String(), Type.Array(Status, { maxItems: 100 }), {
    description: 'Where a status may go; one without an entry is final.',
  }),
  initialStatus: Type.String({ description: 'Of a new case that is given no status.' }),
};
const dataSchema = nullable(
  Type.Unsafe({
    type: 'object',
    additionalProperties: true,
    description: `JSON Schema (draft 2020-12) of the cases' \`data\`; at most ${schemaBytes} bytes, and no reference out of itself.`,
  }),
);

const CaseTypeSchema = Type.Object({
  name: Type.String(),
  ...definition,
  dataSchema,
  builtIn: Type.Boolean({ description: 'Comes with the server, and was not replaced.' }),
});

const CaseTypeBody = Type.Object(
  {
    name: Type.Optional(Type.String({ description: 'If given, the name in the path.' })),
    ...definition,
    dataSchema: Type.Optional(dataSchema),
    builtIn: Type.Optional(Type.Boolean({ description: 'Ignored, so that what was read can be sent back.' })),
  },
  { additionalProperties: false },
);

const example = {
  name: 'complaint',
  statuses: ['Open', 'Answered', 'Closed'],
  transitions: { Open: ['Answered'], Answered: ['Open', 'Closed'] },
  initialStatus: 'Open',
  dataSchema: { type: 'object', properties: { channel: { enum: ['mail', 'phone'] } } },
  builtIn: false,
};

const NameParams = Type.Object({
  name: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$',
    description: 'Letters, digits, - and _.',
    examples: ['complaint'],
  }),
});

/** Case types: the lifecycle of a kind of case, and the shape of its data. */
export function registerCaseTypeRoutes(app: Api, { pool }: Deps): void {
  app.get(
    '/case-types',
    {
      schema: {
        tags: ['case types'],
        summary: 'List case types',
        description: `All of them; a tenant has at most ${mostTypes} of its own.`,
        response: {
          200: pageSchema(CaseTypeSchema, {
            description: 'All case types.',
            examples: [{ items: [example], nextCursor: null }],
          }),
        },
      },
    },
    async (request) => {
      const types = await loadCaseTypes(pool, request.caller.tenantId);
      return { items: [...types.values()].map(presentCaseType), nextCursor: null };
    },
  );

  app.get(
    '/case-types/:name',
    {
      config: { problems: ['not_found'] },
      schema: {
        tags: ['case types'],
        summary: 'Read a case type',
        params: NameParams,
        response: {
          200: Type.Object(CaseTypeSchema.properties, { description: 'The case type.', examples: [example] }),
        },
      },
    },
    async (request) => {
      const types = await loadCaseTypes(pool, request.caller.tenantId);
      const type = types.get(request.params.name);
      if (type) return presentCaseType(type) as never;
      const known = [...types.keys()].join(', ');
      throw new ApiError('not_found', `There is no case type "${request.params.name}". The case types are: ${known}.`);
    },
  );

  app.put(
    '/case-types/:name',
    {
      config: { problems: ['validation_failed', 'constraint_violation'] },
      schema: {
        tags: ['case types'],
        summary: 'Add or replace a case type',
        description:
          'A status that cases of this type have cannot be taken out. A name that is built in is replaced for this tenant.',
        params: NameParams,
        body: Type.Object(CaseTypeBody.properties, { additionalProperties: false, examples: [example] }),
        response: {
          200: Type.Object(CaseTypeSchema.properties, { description: 'Replaced.', examples: [example] }),
          201: Type.Object(CaseTypeSchema.properties, {
            description: 'Added.',
            examples: [example],
            headers: { Location: { type: 'string', description: 'The case type.' } },
          } as never),
        },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const { tenantId } = request.caller;
      const body = request.body as Definition;
      const type = readCaseType(name, body);
      const isNew = await pool.transaction(async (tx) => {
        await lockCaseTypes(tx, tenantId);
        const types = await loadCaseTypes(tx, tenantId);
        const present = types.get(name);
        refuseTooMany([...types.values()], present);
        if (present) {
          const removed = present.lifecycle.statuses.filter((status) => !type.lifecycle.statuses.includes(status));
          if (removed.length > 0) refuseWhileHeld(name, await countCasesIn(tx, { tenantId, name, statuses: removed }));
        }
        await storeCaseType(tx, tenantId, type);
        return present === undefined;
      });
      if (isNew) reply.code(201).header('location', `${basePath}/case-types/${name}`);
      return presentCaseType({ ...type, builtIn: false }) as never;
    },
  );
}

interface Definition {
  name?: string;
  statuses: string[];
  transitions: Record<string, string[]>;
  initialStatus: string;
  dataSchema?: JsonObject | null;
}

function presentCaseType({ name, lifecycle, dataSchema, builtIn }: Omit<CaseType, 'dataCheck'>) {
  const { statuses, transitions, initial } = lifecycle;
  return { name, statuses, transitions, initialStatus: initial, dataSchema, builtIn };
}

/** Throws `validation_failed` that names what is wrong with the definition. */
function readCaseType(
  name: string,
  body: Definition,
): { name: string; lifecycle: Lifecycle; dataSchema: JsonObject | null } {
  if (body.name !== undefined && body.name !== name) {
    throw invalid('/name', `The body names the case type "${body.name}", the path "${name}".`);
  }
  const lifecycle = { statuses: body.statuses, initial: body.initialStatus, transitions: body.transitions };
  const [problem] = lifecycleProblems(lifecycle);
  if (problem !== undefined) throw invalid('', problem);
  const dataSchema = body.dataSchema ?? null;
  try {
    if (dataSchema) compileDataSchema(dataSchema);
  } catch (error) {
    if (!(error instanceof SchemaRefusal)) throw error;
    throw invalid('/dataSchema', `The JSON Schema is refused. ${error.message}`);
  }
  return { name, lifecycle, dataSchema };
}

function invalid(pointer: string, message: string): ApiError {
  return new ApiError('validation_failed', message, { errors: [{ pointer, message }] });
}

function refuseTooMany(types: readonly CaseType[], present: CaseType | undefined): void {
  const own = types.filter(({ builtIn }) => !builtIn).length;
  if (own < mostTypes || present?.builtIn === false) return;
  throw new ApiError('constraint_violation', `There are ${own} case types; there may be ${mostTypes}.`, {
    limit: mostTypes,
    actual: own,
  });
}

function refuseWhileHeld(name: string, held: ReadonlyMap<string, number>): void {
  if (held.size === 0) return;
  const counts = [...held]
    .map(([status, count]) => `${count} ${count === 1 ? 'case is' : 'cases are'} in "${status}"`)
    .join(', ');
  throw new ApiError(
    'constraint_violation',
    `The case type "${name}" must keep these statuses: ${counts}. Move the cases on first, or leave the statuses in.`,
    { errors: [{ pointer: '/statuses', message: counts }] },
  );
}
