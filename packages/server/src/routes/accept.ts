import { ApiError } from '../http/problems.ts';

/**
 * The media type to answer with: of those that exist, the one that the Accept header likes best; the first of them when it likes
 * several alike or says nothing (RFC 9110, 12.5.1). Throws `not_acceptable`.
 */
export function chooseMediaType<Type extends string>(
  accept: string | undefined,
  available: readonly [Type, ...Type[]],
): Type {
  if (accept === undefined || accept.trim() === '') return available[0];
  const ranges = accept.split(',').map(parseRange);
  let best: { type: Type; quality: number } | undefined;
  for (const type of available) {
    const fitting = ranges.filter((range) => fits(range.name, type));
    // why: the most exact range speaks for a type, whatever the wider ones say
    const [range] = fitting.sort((a, b) => exactness(b.name) - exactness(a.name));
    const quality = range?.quality ?? 0;
    if (quality > (best?.quality ?? 0)) best = { type, quality };
  }
  if (best) return best.type;
  throw new ApiError(
    'not_acceptable',
    `The Accept header allows none of the media types that there are: ${available.join(', ')}.`,
  );
}

function parseRange(text: string): { name: string; quality: number } {
  const [name = '', ...parameters] = text.split(';').map((word) => word.trim().toLowerCase());
  const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  return { name, quality: quality === undefined ? 1 : Number(quality) || 0 };
}

function fits(range: string, type: string): boolean {
  return range === type || range === '*/*' || (range.endsWith('/*') && type.startsWith(range.slice(0, -1)));
}

function exactness(range: string): number {
  return range === '*/*' ? 0 : range.endsWith('/*') ? 1 : 2;
}
