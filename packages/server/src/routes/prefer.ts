/** The preferences of a request that Docket knows (RFC 7240). */
export interface Preferences {
  respondAsync: boolean;
  /** Seconds. */
  wait: number | undefined;
  return: 'representation' | 'minimal' | undefined;
}

/** The longest that a request is kept waiting, in seconds. */
export const longestWait = 60;

const longestHeader = 1_000;

const part = /(?:[^",;]|"(?:[^"\\]|\\.)*")+|[,;]/g;
const preference = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]*)))?\s*$/;

/**
 * Reads a Prefer header. As RFC 7240 has it, what is unknown or malformed is ignored, names do not care for case, and of a
 * preference given twice the first counts. A wait above 60 s is taken as 60 s.
 */
export function parsePrefer(header: string | string[] | undefined): Preferences {
  const found: Preferences = { respondAsync: false, wait: undefined, return: undefined };
  const text = [header ?? []].flat().join(',');
  if (text === '' || text.length > longestHeader) return found;
  const seen = new Set<string>();
  let isParameter = false;
  for (const [word] of text.matchAll(part)) {
    if (word === ',' || word === ';') {
      isParameter = word === ';';
      continue;
    }
    const [, name, quoted, token] = (isParameter ? null : preference.exec(word)) ?? [];
    const key = name?.toLowerCase();
    if (key === undefined || seen.has(key)) continue;
    seen.add(key);
    const value = quoted?.replace(/\\(.)/g, '$1') ?? token ?? '';
    if (key === 'respond-async') found.respondAsync = value === '';
    else if (key === 'wait' && /^\d{1,9}$/.test(value)) found.wait = Math.min(Number(value), longestWait);
    else if (key === 'return' && (value === 'minimal' || value === 'representation')) found.return = value;
  }
  return found;
}

/** The value of Preference-Applied for those that were taken into account; undefined when there are none. */
export function preferenceApplied(applied: Partial<Preferences>): string | undefined {
  const words: string[] = [];
  if (applied.respondAsync) words.push('respond-async');
  if (applied.wait !== undefined) words.push(`wait=${applied.wait}`);
  if (applied.return !== undefined) words.push(`return=${applied.return}`);
  return words.length > 0 ? words.join(', ') : undefined;
}
