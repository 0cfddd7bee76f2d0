import type { Collection, Rejection } from '../domain/collection.ts';
import { violatedConstraint } from '../storage/errors.ts';

/**
 * What a client is told of a failure on the data: the constraint's name and the field, never the database's message, which may
 * hold values of rows.
 */
export function constraintRejection(collection: Collection<never>, error: unknown): Rejection {
  const { constraint, column, code } = violatedConstraint(error);
  const fields = [...collection.fields.values()];
  const named =
    fields.find((field) => field.column === column) ?? fields.find((field) => constraint?.includes(field.column));
  const field = named?.name ?? null;
  if (constraint) return reject(`The change breaks the constraint "${constraint}" of the table.`, field);
  if (code === '23502') return reject(`${field ?? `The column "${column}"`} must not be null.`, field);
  if (code === '22012')
    return reject("The table's own rules (a trigger or a policy) did not let the change through.", null);
  return reject(`${field ?? 'A value'} does not fit its column (SQLSTATE ${code}).`, field);
}

function reject(message: string, field: string | null): Rejection {
  return { code: 'constraint_violation', message, field };
}
