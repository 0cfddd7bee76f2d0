import { type ItemRules, type Json, parseStreamedItem, RequestError, type StreamedItem } from '@docket/engine';
import { placeOfBadByte } from './json-body.ts';
import { JsonFault, readJson } from './strict-json.ts';

const newline = 0x0a;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const mark = '\uFEFF';

/**
 * Reads one item from each line, and gives those that came together as one list. Empty lines are skipped, and a line that holds no item
 * is given as broken. Throws `malformed_body` where the bytes are no UTF-8, `batch_too_large` for a line that passes every bound, once
 * the items before it were taken.
 */
export async function* readNdjson(bytes: AsyncIterable<Buffer>, rules: ItemRules): AsyncGenerator<StreamedItem[]> {
  const { streamLineBytes } = rules.limits;
  let line = 0;
  let begun: Buffer[] = [];
  let begunBytes = 0;
  const readLines = (end: Buffer): { items: StreamedItem[]; error?: unknown } => {
    const whole = begun.length === 0 ? end : Buffer.concat([...begun, end]);
    begun = [];
    begunBytes = 0;
    const items: StreamedItem[] = [];
    try {
      for (const text of decodedLines(whole, line + 1)) {
        line += 1;
        const length = bytesOf(text, rules.limits.itemBytes);
        refuseAbove(length, streamLineBytes, line);
        const item = readLine(line === 1 && text.startsWith(mark) ? text.slice(1) : text, length, line, rules);
        if (item) items.push(item);
      }
      return { items };
    } catch (error) {
      return { items, error };
    }
  };
  for await (const piece of bytes) {
    const lastEnd = piece.lastIndexOf(newline);
    if (lastEnd !== -1) {
      const { items, error } = readLines(piece.subarray(0, lastEnd));
      if (items.length > 0) yield items;
      if (error) throw error;
    }
    if (lastEnd + 1 === piece.length) continue;
    begun.push(piece.subarray(lastEnd + 1));
    begunBytes += piece.length - lastEnd - 1;
    refuseAbove(begunBytes, streamLineBytes, line + 1);
  }
  if (begunBytes === 0) return;
  const { items, error } = readLines(Buffer.alloc(0));
  if (items.length > 0) yield items;
  if (error) throw error;
}

/** Lines of text, decoded together where they are UTF-8. Throws `malformed_body` at the line that is not. */
function* decodedLines(bytes: Buffer, firstLine: number): Generator<string> {
  let text: string | undefined;
  try {
    text = utf8.decode(bytes);
  } catch {
    text = undefined;
  }
  if (text !== undefined) return yield* text.split('\n');
  for (let line = firstLine, start = 0; ; line++) {
    const end = bytes.indexOf(newline, start);
    yield decode(bytes.subarray(start, end === -1 ? bytes.length : end), line);
    start = end + 1;
  }
}

/** The text's bytes, where they may be more than `limit`. */
function bytesOf(text: string, limit: number): number {
  return text.length * 3 > limit ? Buffer.byteLength(text) : text.length;
}

function refuseAbove(length: number, limit: number, line: number): void {
  if (length <= limit) return;
  const message = `Line ${line} is longer than ${limit} bytes, so the stream cannot be read. Nothing was applied.`;
  throw new RequestError('batch_too_large', message, { limit });
}

function readLine(text: string, bytes: number, line: number, rules: ItemRules): StreamedItem | undefined {
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
  if (bytes <= itemBytes || 'line' in item) return item;
  return {
    line,
    message: `The item has ${bytes} bytes; an item may have ${itemBytes}.`,
    id: item.id,
    ref: item.ref,
  };
}

function decode(bytes: Buffer, line: number): string {
  try {
    return utf8.decode(bytes);
  } catch {
    const message = `The stream is not valid UTF-8 (line ${line}, ${placeOfBadByte(bytes)}). Send it in UTF-8. Nothing was applied.`;
    throw new RequestError('malformed_body', message);
  }
}
