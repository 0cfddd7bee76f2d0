import type { InputError, Json } from '@docket/engine';
import type { Api } from './api.ts';
import { ApiError } from './problems.ts';
import { clip, JsonFault, readJson } from './strict-json.ts';

/** `rawBody` of a request without a body. */
export const emptyBody: Buffer = Buffer.alloc(0);

/**
 * Reads JSON bodies strictly: what could be read in two ways, or could not be stored as it was sent, is refused with
 * `malformed_body` and the place. The bytes stay on the request as `rawBody`.
 */
export function readJsonBodies(app: Api): void {
  app.decorateRequest('rawBody', null as unknown as Buffer);
  app.decorateRequest('bodyBytes', 0);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    ['application/json', 'application/merge-patch+json'],
    { parseAs: 'buffer' },
    (request, body: Buffer, done) => {
      request.rawBody = body;
      request.bodyBytes = body.length;
      try {
        refuseCompressed(request.headers['content-encoding']);
        const absent = body.length === 0 && request.routeOptions.config.optionalBody;
        done(null, absent ? undefined : parseJsonBody(body));
      } catch (error) {
        done(error as Error, undefined);
      }
    },
  );
}

function refuseCompressed(encoding: string | undefined): void {
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return;
  const detail = `The body has the Content-Encoding ${JSON.stringify(encoding)}. Send it uncompressed.`;
  throw new ApiError('unsupported_media_type', detail, { headers: { 'accept-encoding': 'identity' } });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Throws `malformed_body` that says what is wrong, where, and what to do. A byte order mark is accepted. */
export function parseJsonBody(body: Buffer): Json {
  if (body.length === 0) throw malformed('The body is empty. Send JSON.', '');
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw malformed(`The body is not valid UTF-8 (${placeOfBadByte(body)}). Send it in UTF-8.`, '');
  }
  try {
    return readJson(text);
  } catch (error) {
    throw error instanceof JsonFault ? malformedJson(text, error) : error;
  }
}

function malformedJson(text: string, { fault: { reason, remedy, at, pointer, limit } }: JsonFault): ApiError {
  if (at === undefined) return malformed(remedy === '' ? reason : `The body ${reason} ${remedy}`, pointer ?? '');
  // why line and column: people look for them in an editor
  const message = `The body ${reason} (${placeOf(text, at)}). ${remedy}`;
  return new ApiError('malformed_body', message, {
    ...(limit === undefined ? {} : { limit }),
    errors: [{ pointer: '', message }],
  });
}

function malformed(message: string, pointer: string): ApiError {
  const errors: InputError[] = [{ pointer, message }];
  return new ApiError('malformed_body', pointer === '' ? message : `${message} It is at ${clip(pointer)}.`, { errors });
}

function placeOf(text: string, position: number): string {
  const before = text.slice(0, position);
  const line = before.split('\n').length;
  return `line ${line}, column ${position - before.lastIndexOf('\n')}`;
}

/** Where the first byte is that is no UTF-8. */
export function placeOfBadByte(body: Buffer): string {
  let low = 0;
  let high = body.length;
  // why: the longest valid prefix ends where the bad byte starts; a prefix cut in a character is no error in streaming mode
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(body.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle - 1;
    }
  }
  return `byte ${low}`;
}
