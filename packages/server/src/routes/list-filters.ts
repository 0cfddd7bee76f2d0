import { type Collection, type Filter, findUnstorableText, type JsonObject } from '@docket/engine';
import { type TSchema, Type } from 'typebox';
import { ApiError } from '../http/problems.ts';

const OneOrMany = { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, maxItems: 100 }] };

/** The list parameters of a collection: one for each of its filters. */
export function filterParameters(collection: Collection<never>): Record<string, TSchema> {
  return Object.fromEntries(
    Object.entries(collection.filters).map(([name, filter]) => [
      name,
      Type.Optional(filterParameter(collection, filter)),
    ]),
  );
}

function filterParameter(collection: Collection<never>, filter: Filter): TSchema {
  if (filter.op === 'contains') {
    return Type.String({
      minLength: 1,
      maxLength: 255,
      description: `Text within ${filter.fields.join(' or ')}, of either case.`,
    });
  }
  if (filter.op === 'atLeast') {
    return Type.String({ description: `Only those whose ${filter.field} is not before this time (RFC 3339).` });
  }
  const empty = collection.fields.get(filter.field)?.nullable ? ' Empty: those without.' : '';
  return Type.Unsafe({
    ...OneOrMany,
    description: `Only this ${filter.field}; given several times, any of them.${empty}`,
  });
}

/** The list parameters as the engine takes them. Throws `invalid_parameter` for text that no record can hold. */
export function whereOf(collection: Collection<never>, filters: Record<string, string | string[]>): JsonObject {
  const problem = findUnstorableText(filters);
  if (problem) throw new ApiError('invalid_parameter', problem.message, { errors: [problem] });
  const where: JsonObject = {};
  for (const [name, value] of Object.entries(filters)) {
    const filter = collection.filters[name];
    const mayBeNull = filter?.op === 'equals' && collection.fields.get(filter.field)?.nullable;
    where[name] = value === '' && mayBeNull ? null : value;
  }
  return where;
}
