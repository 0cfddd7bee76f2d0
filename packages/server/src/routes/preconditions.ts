import type { RecordState } from '@docket/engine';
import { ApiError } from '../http/problems.ts';

/** The strong entity tag of a record's present state; undefined where the table has no version. */
export function etagOf({ version }: Pick<RecordState, 'version'>): string | undefined {
  return version === null ? undefined : `"v${version}"`;
}

const longestHeader = 4_096;

interface Tag {
  weak: boolean;
  /** With its quotes. */
  tag: string;
}

/** Throws `invalid_parameter` for what is no list of entity tags (RFC 9110, 8.8.3). */
function parseTags(header: string, name: string): Tag[] | '*' {
  const text = header.trim();
  if (text === '*') return '*';
  if (text.length > longestHeader) throw invalid(name);
  const tags: Tag[] = [];
  const tag = /\s*(?:(W\/)?("[\x21\x23-\x7e\x80-\xff]*"))?\s*(,|$)/y;
  while (tag.lastIndex < text.length) {
    const found = tag.exec(text);
    if (!found) throw invalid(name);
    if (found[2] !== undefined) tags.push({ weak: found[1] !== undefined, tag: found[2] });
  }
  if (tags.length === 0) throw invalid(name);
  return tags;
}

function invalid(name: string): ApiError {
  const message = `${name} must be * or a list of entity tags in quotes, as in the ETag header: "v3".`;
  return new ApiError('invalid_parameter', message, { errors: [{ pointer: `/${name}`, message }] });
}

/** Whether If-None-Match says that the client holds this state already. Compares weakly, as RFC 9110 has it for this header. */
export function isKnownToClient(ifNoneMatch: string | undefined, etag: string | undefined): boolean {
  if (ifNoneMatch === undefined) return false;
  const tags = parseTags(ifNoneMatch, 'If-None-Match');
  return tags === '*' || tags.some(({ tag }) => tag === etag);
}

/**
 * The versions that If-Match allows; undefined when any will do. Tags that are weak or none of ours can match nothing, because
 * this header compares strongly.
 */
export function versionsAllowed(ifMatch: string | undefined): number[] | undefined {
  if (ifMatch === undefined) return undefined;
  const tags = parseTags(ifMatch, 'If-Match');
  if (tags === '*') return undefined;
  return tags.flatMap(({ weak, tag }) => {
    const version = weak ? undefined : /^"v(0|[1-9]\d{0,14})"$/.exec(tag)?.[1];
    return version === undefined ? [] : [Number(version)];
  });
}
