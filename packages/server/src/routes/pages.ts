import { decodeCursor, encodeCursor } from '@docket/engine';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ApiError } from '../http/problems.ts';

/** Adds `Link: <..>; rel="next"` (RFC 8288) where there is another page: the same request with its cursor. */
export function linkNextPage(request: FastifyRequest, reply: FastifyReply, nextCursor: string | null): void {
  if (nextCursor === null) return;
  const [path = '', query = ''] = request.url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('cursor', nextCursor);
  reply.header('link', `<${path}?${parameters}>; rel="next"`);
}

/** A page of a list that goes by id, from one row more than it may have. */
export function replyPage<Row>(
  request: FastifyRequest,
  reply: FastifyReply,
  { found, limit, scope, idOf }: { found: Row[]; limit: number; scope: string; idOf: (row: Row) => string },
): { items: Row[]; nextCursor: string | null } {
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const nextCursor = found.length > limit && last !== undefined ? encodeCursor(scope, [idOf(last)]) : null;
  linkNextPage(request, reply, nextCursor);
  return { items, nextCursor };
}

/** The UUID behind which a page begins, of an id that `parse` reads; undefined for the first page. Throws `invalid_parameter`. */
export function placeOf(
  cursor: string | undefined,
  scope: string,
  parse: (id: string) => string | undefined,
): string | undefined {
  if (cursor === undefined) return undefined;
  const place = parse(decodeCursor(cursor, scope, ['text'])[0] as string);
  if (place !== undefined) return place;
  const message = 'The cursor is damaged. Start again without one.';
  throw new ApiError('invalid_parameter', message, { errors: [{ pointer: '/cursor', message }] });
}
