const token =
  /([{}[\],:])|"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/uy;
const space = /[ \t\n\r]*/y;

type Expected = 'value' | 'value or ]' | 'name' | 'name or }' | ':' | ', or end';

/**
 * Where a text stops being JSON: the index of the first token that cannot stand there. For texts that `JSON.parse` has
 * refused without saying where. Undefined when it finds nothing.
 */
export function findSyntaxError(text: string): number | undefined {
  const open: string[] = [];
  let expected: Expected = 'value';
  let at = 0;
  for (;;) {
    space.lastIndex = at;
    at += space.exec(text)?.[0].length ?? 0;
    if (at === text.length) return expected === ', or end' && open.length === 0 ? undefined : at;
    token.lastIndex = at;
    const found = token.exec(text);
    if (!found) return at;
    const next = step(expected, open, found[0]);
    if (next === undefined) return at;
    expected = next;
    at = token.lastIndex;
  }
}

function step(expected: Expected, open: string[], text: string): Expected | undefined {
  const inside = open.at(-1);
  const closes = (text === '}' && inside === '{') || (text === ']' && inside === '[');
  if (closes && (expected === ', or end' || expected === 'name or }' || expected === 'value or ]')) {
    open.pop();
    return ', or end';
  }
  switch (expected) {
    case 'value':
    case 'value or ]':
      if (text === '{' || text === '[') {
        open.push(text);
        return text === '{' ? 'name or }' : 'value or ]';
      }
      return '}],:'.includes(text) ? undefined : ', or end';
    case 'name':
    case 'name or }':
      return text.startsWith('"') ? ':' : undefined;
    case ':':
      return text === ':' ? 'value' : undefined;
    case ', or end':
      if (text !== ',' || inside === undefined) return undefined;
      return inside === '{' ? 'name' : 'value';
  }
}
