import { RequestError } from './codes.ts';
import type { Json } from './json.ts';

/**
 * An opaque place in a list. It names a position only and gives no authority; `scope` binds it to the list and filters that
 * it was made for, so that a walk whose filters change in the middle is refused instead of skipping rows.
 */
export function encodeCursor(scope: string, position: Json[]): string {
  return Buffer.from(JSON.stringify([scope, ...position])).toString('base64url');
}

/** What a part of a position must be: `integer` has 32 bits, `value` is anything but an array or object. */
export type PositionPart = 'text' | 'integer' | 'value';

const isPart: Record<PositionPart, (part: Json) => boolean> = {
  text: (part) => typeof part === 'string',
  integer: (part) => typeof part === 'number' && part === (part | 0),
  value: (part) => typeof part !== 'object' || part === null,
};

/**
 * Throws `invalid_parameter` for a cursor that is damaged, belongs to another list or other filters, or names no position of the
 * given shape.
 */
export function decodeCursor(cursor: string, scope: string, shape?: readonly PositionPart[]): Json[] {
  const bytes = Buffer.from(cursor, 'base64url');
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString());
  } catch {
    content = undefined;
  }
  // why: the decoder skips characters that it does not know
  if (!Array.isArray(content) || bytes.toString('base64url') !== cursor) throw damagedCursor();
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
  if (shape && (position.length !== shape.length || !shape.every((part, at) => isPart[part](position[at] as Json)))) {
    throw damagedCursor();
  }
  return position;
}

export function damagedCursor(): RequestError {
  return new RequestError('invalid_parameter', 'The cursor is damaged. Start again without one.', {
    errors: [{ pointer: '/cursor', message: 'Must be a `nextCursor` of this list.' }],
  });
}
