import { RequestError } from './codes.ts';
import type { Json } from './json.ts';

/**
 * An opaque place in a list. It names a position only and gives no authority; `scope` binds it to the list and filters that
 * it was made for, so that a walk whose filters change in the middle is refused instead of skipping rows.
 */
export function encodeCursor(scope: string, position: Json[]): string {
  return Buffer.from(JSON.stringify([scope, ...position])).toString('base64url');
}

/** Throws `invalid_parameter` for a cursor that is damaged or belongs to another list or other filters. */
export function decodeCursor(cursor: string, scope: string): Json[] {
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    content = undefined;
  }
  if (!Array.isArray(content)) {
    throw new RequestError('invalid_parameter', 'The cursor is damaged. Start again without one.', {
      errors: [{ pointer: '/cursor', message: 'Must be a `nextCursor` of this list.' }],
    });
  }
  const [madeFor, ...position] = content as Json[];
  if (madeFor !== scope) {
    throw new RequestError(
      'invalid_parameter',
      'The cursor was made with other filters. Start again without a cursor.',
      {
        errors: [{ pointer: '/cursor', message: 'Filters and sort must stay the same through a walk.' }],
      },
    );
  }
  return position;
}
