import { type ItemRules, type Json, parseStreamedItem, RequestError, type StreamedItem } from '@docket/engine';
import { placeOfBadByte } from './json-body.ts';
import { JsonFault, readJson } from './strict-json.ts';

const newline = 0x0a;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const mark = '\uFEFF';

/**
 * Reads one item from each line. Empty lines are skipped, and a line that holds no item is given as broken. Throws
 * `malformed_body` where the bytes are no UTF-8, `batch_too_large` for a line that passes every bound.
 */
export async function* readNdjson(bytes: AsyncIterable<Buffer>, rules: ItemRules): AsyncGenerator<StreamedItem> {
  const { streamLineBytes } = rules.limits;
  let line = 0;
  let begun: Buffer[] = [];
  let begunBytes = 0;
  const take = (end: Buffer): StreamedItem | undefined => {
    const whole = begun.length === 0 ? end : Buffer.concat([...begun, end]);
    begun = [];
    begunBytes = 0;
    line += 1;
    refuseAbove(whole.length, streamLineBytes, line);
    return readLine(whole, line, rules);
  };
  for await (const piece of bytes) {
    let start = 0;
    for (let end = piece.indexOf(newline); end !== -1; end = piece.indexOf(newline, start)) {
      const item = take(piece.subarray(start, end));
      if (item) yield item;
      start = end + 1;
    }
    if (start === piece.length) continue;
    begun.push(piece.subarray(start));
    begunBytes += piece.length - start;
    refuseAbove(begunBytes, streamLineBytes, line + 1);
  }
  if (begunBytes === 0) return;
  const item = take(Buffer.alloc(0));
  if (item) yield item;
}

function refuseAbove(length: number, limit: number, line: number): void {
  if (length <= limit) return;
  const message = `Line ${line} is longer than ${limit} bytes, so the stream cannot be read. Nothing was applied.`;
  throw new RequestError('batch_too_large', message, { limit });
}

function readLine(bytes: Buffer, line: number, rules: ItemRules): StreamedItem | undefined {
  const text = decode(bytes, line);
  if (text.trim() === '') return undefined;
  let value: Json;
  try {
    value = readJson(text);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    const { reason, remedy, at, pointer } = error.fault;
    if (at !== undefined) return { line, column: at + 1, message: `The line ${reason}. ${remedy}` };
    const place = pointer === undefined || pointer === '' ? '' : ` It is at ${pointer.slice(0, 200)}.`;
    return { line, message: remedy === '' ? reason + place : `The line ${reason} ${remedy}${place}` };
  }
  const item = parseStreamedItem(rules, value, line);
  const { itemBytes } = rules.limits;
  if (bytes.length <= itemBytes || 'line' in item) return item;
  return {
    line,
    message: `The item has ${bytes.length} bytes; an item may have ${itemBytes}.`,
    id: item.id,
    ref: item.ref,
  };
}

function decode(bytes: Buffer, line: number): string {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    const message = `The stream is not valid UTF-8 (line ${line}, ${placeOfBadByte(bytes)}). Send it in UTF-8. Nothing was applied.`;
    throw new RequestError('malformed_body', message);
  }
  return line === 1 && text.startsWith(mark) ? text.slice(1) : text;
}
