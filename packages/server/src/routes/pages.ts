import type { FastifyReply, FastifyRequest } from 'fastify';

/** Adds `Link: <..>; rel="next"` (RFC 8288) where there is another page: the same request with its cursor. */
export function linkNextPage(request: FastifyRequest, reply: FastifyReply, nextCursor: string | null): void {
  if (nextCursor === null) return;
  const [path = '', query = ''] = request.url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('cursor', nextCursor);
  reply.header('link', `<${path}?${parameters}>; rel="next"`);
}
