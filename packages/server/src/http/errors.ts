import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { asRequestError, RequestError } from '@docket/engine';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ApiError, problemKinds } from './problems.ts';
import { describeViolation } from './validation.ts';

const retryAfterSeconds = 2;

export interface ProblemOptions {
  /** Where the pages of the codes are: scheme and authority. Without it, where the request was sent to. */
  publicUrl: string | undefined;
  bodyBytes: number;
}

/** Answers an error of a request with its problem document. What is not foreseen is logged and told to nobody else. */
export function answerError(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
  options: ProblemOptions,
): FastifyReply {
  const problem = asApiError(error, request, options);
  if (problem.code === 'internal') {
    const { id: requestId, method, url } = request;
    request.log.error({ err: error, requestId, method, url }, 'request failed');
  } else if (statusOf(problem) >= 500) {
    request.log.error({ code: problem.code, err: problem.cause, requestId: request.id }, 'request could not be served');
  }
  return sendProblem(problem, request, reply, options);
}

function sendProblem(
  problem: ApiError,
  request: FastifyRequest,
  reply: FastifyReply,
  options: ProblemOptions,
): FastifyReply {
  const { code, details } = problem;
  const kind = problemKinds[code];
  const status = statusOf(problem);
  const retryAfter = details.retryAfter ?? (kind.status === 503 || kind.status === 429 ? retryAfterSeconds : undefined);
  if (retryAfter !== undefined) reply.header('retry-after', String(Math.ceil(retryAfter)));
  if (code === 'unauthenticated') reply.header('www-authenticate', 'Bearer realm="docket"');
  for (const [name, value] of Object.entries(details.headers ?? {})) reply.header(name, value);
  const document = {
    type: `${options.publicUrl ?? originOf(request)}/errors/${code}`,
    title: kind.title,
    status,
    detail: problem.message,
    code,
    instance: request.url.split('?', 1)[0],
    requestId: request.id,
    ...(details.limit === undefined ? {} : { limit: details.limit }),
    ...(details.actual === undefined ? {} : { actual: details.actual }),
    ...(details.errors === undefined ? {} : { errors: details.errors }),
    ...details.extra,
  };
  reply.header('x-request-id', request.id);
  return reply.code(status).type('application/problem+json').send(JSON.stringify(document));
}

function statusOf({ code, details }: ApiError): number {
  return details.status ?? problemKinds[code].status;
}

function originOf(request: FastifyRequest): string {
  // why checked: the Host header is the client's to write
  const host = /^[\w.:[\]-]{1,255}$/.test(request.host) ? request.host : 'localhost';
  return `${request.protocol}://${host}`;
}

function asApiError(error: FastifyError, request: FastifyRequest, options: ProblemOptions): ApiError {
  if (error instanceof ApiError) return error;
  if (error.validation) return describeViolation(error, request);
  const own = frameworkProblem(error, request, options);
  if (own) return own;
  // why: statements that do not go through the engine fail with the driver's errors
  const refusal = asRequestError(error);
  if (refusal instanceof RequestError) {
    return new ApiError(refusal.code, refusal.message, { ...refusal.details, cause: refusal.cause });
  }
  return new ApiError('internal', 'The server could not do this because of an error of its own. It is in its log.', {
    cause: error,
  });
}

function frameworkProblem(error: FastifyError, request: FastifyRequest, options: ProblemOptions): ApiError | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE': {
      const length = Number(request.headers['content-length']);
      return new ApiError('batch_too_large', `The body may have ${options.bodyBytes} bytes. Send it in parts.`, {
        limit: options.bodyBytes,
        ...(length > options.bodyBytes ? { actual: length } : {}),
      });
    }
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return unsupportedMediaType(request.headers['content-type']);
    case 'FST_ERR_BAD_URL':
      return new ApiError('invalid_parameter', 'The path has a percent sign that starts no valid escape (RFC 3986).');
  }
  const status = error.statusCode;
  if (status === undefined || status < 400 || status >= 500) return undefined;
  return new ApiError('malformed_body', `The request could not be read: ${error.message}.`, { status });
}

function unsupportedMediaType(type: string | undefined): ApiError {
  const accepted = 'Send JSON with "Content-Type: application/json".';
  const headers = { accept: 'application/json' };
  if (type === undefined || type === '') {
    return new ApiError('unsupported_media_type', `The body has no Content-Type. ${accepted}`, { headers });
  }
  const stream = /^(application\/x-ndjson|text\/csv)\b/i.test(type);
  const detail = stream
    ? `Streams are taken by bulk-update and bulk-create of a collection, not here. ${accepted}`
    : `A body of type ${JSON.stringify(type.slice(0, 100))} is not read here. ${accepted}`;
  return new ApiError('unsupported_media_type', detail, { headers });
}

/** Answers what is not even HTTP, on the bare connection: the parser gave up before there was a request. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  const status = tooLarge ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  const detail = tooLarge ? 'The path and headers are too long.' : 'This is no HTTP request that can be read.';
  const { title } = problemKinds.invalid_parameter;
  const body = JSON.stringify({ type: 'about:blank', title, status, detail, code: 'invalid_parameter' });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
