import { pipeline, Readable } from 'node:stream';
import {
  type BrokenItem,
  type Field,
  type ItemRules,
  type Json,
  type JsonObject,
  jsonKind,
  parseStreamedItem,
  RequestError,
  type StreamedItem,
} from '@docket/engine';
import { CsvError, type Info, parse } from 'csv-parse';
import { placeOfBadByte } from './json-body.ts';
import { JsonFault, readJson } from './strict-json.ts';

/** The cell that stands for null, in what is read and in what is written; an empty one leaves the field alone. */
export const nullCell = '\\N';

/** What the cells of a column are. */
interface Column {
  name: string;
  part: 'id' | 'field' | 'version' | 'ref' | 'idempotencyKey';
  /** The field, and the member of it where the column is `field.member`. */
  field?: Field | undefined;
  member?: string | undefined;
  /** How text becomes a value; undefined: text as it is. */
  read?: ((text: string) => Json) | undefined;
}

/** Why a cell holds no value of its column's kind. */
class CellProblem extends Error {}

/**
 * Reads one item from each record of RFC 4180 text with a header. A record that holds no item is given as broken. Throws
 * `malformed_body` where the header names what is not there, or the text is no CSV, and `batch_too_large` for a record that passes
 * every bound.
 */
export async function* readCsv(bytes: AsyncIterable<Buffer>, rules: ItemRules): AsyncGenerator<StreamedItem> {
  const { streamLineBytes } = rules.limits;
  const parser = parse({
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    record_delimiter: ['\r\n', '\n'],
    max_record_size: streamLineBytes,
  });
  // why the callback does nothing: what fails is thrown where the records are read
  const records = pipeline(Readable.from(decode(bytes), { highWaterMark: 1 }), parser, () => {});
  let columns: Column[] | undefined;
  try {
    for await (const { record, info } of records as AsyncIterable<{ record: string[]; info: Info }>) {
      if (!columns) columns = readHeader(record, rules);
      else yield readRecord(record, lineOf(record, info), columns, rules);
    }
  } catch (error) {
    throw error instanceof CsvError ? unreadable(error, streamLineBytes) : error;
  }
}

/** Bytes given to the parser at once: it makes all records of these before the first one is read. */
const parsedBytes = 8 * 1024;

async function* decode(bytes: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  let read = 0;
  for await (const whole of bytes) {
    for (let start = 0; start < whole.length; start += parsedBytes) {
      const piece = whole.subarray(start, start + parsedBytes);
      let text: string;
      try {
        text = utf8.decode(piece, { stream: true });
      } catch {
        throw notUtf8(read + Number(/\d+/.exec(placeOfBadByte(piece))?.[0] ?? 0));
      }
      read += piece.length;
      if (text !== '') yield text;
    }
  }
  try {
    utf8.decode();
  } catch {
    throw notUtf8(read);
  }
}

function notUtf8(byte: number): RequestError {
  const message = `The stream is not valid UTF-8 (near byte ${byte}). Send it in UTF-8. Nothing was applied.`;
  return new RequestError('malformed_body', message);
}

function unreadable(error: CsvError, limit: number): RequestError {
  const { code, lines, message: told } = error as CsvError & { lines?: number };
  const line = lines === undefined ? '' : `line ${lines}: `;
  if (code === 'CSV_MAX_RECORD_SIZE') {
    const message = `The record near ${line}is longer than ${limit}, so the stream cannot be read. Nothing was applied.`;
    return new RequestError('batch_too_large', message.replace(': is', ' is'), { limit });
  }
  // why: the parser's words quote what it met, which may be long
  const [what = ''] = told.split(/: /, 1);
  return new RequestError(
    'malformed_body',
    `The stream is no CSV (${line}${what}). Mend it there. Nothing was applied.`,
  );
}

/** The line on which a record begins; the parser tells on which it ends. */
function lineOf(record: readonly string[], info: Info): number {
  let breaks = 0;
  for (const cell of record) {
    for (let at = cell.indexOf('\n'); at !== -1; at = cell.indexOf('\n', at + 1)) breaks += 1;
  }
  return info.lines - breaks;
}

function readHeader(names: readonly string[], rules: ItemRules): Column[] {
  const { collection, operation } = rules;
  const columns = names.map((name) => columnOf(name, rules));
  const repeated = names.find((name, at) => names.indexOf(name) < at);
  if (repeated !== undefined) throw badHeader(repeated, 'stands twice in the header. Keep one.');
  const [, otherId] = columns.filter(({ part }) => part === 'id');
  if (otherId) throw badHeader(otherId.name, `is the id, which another column is already. Keep one.`);
  const whole = columns.find(
    (one) => one.member === undefined && columns.some((two) => two.member && two.field === one.field),
  );
  if (whole) throw badHeader(whole.name, `stands beside columns of its members. Keep either.`);
  if (operation === 'update' && !columns.some(({ part }) => part === 'id')) {
    throw badHeader(collection.idField, 'is missing: without it no record is named. Add it to the header.');
  }
  return columns;
}

function badHeader(name: string, what: string): RequestError {
  const message = `The column ${JSON.stringify(name.slice(0, 100))} ${what}`;
  return new RequestError('malformed_body', message, { errors: [{ pointer: '', message }] });
}

function columnOf(name: string, { collection, operation }: ItemRules): Column {
  if (name === collection.idField || name === 'id') return { name, part: 'id' };
  if (name === 'ref' || name === 'idempotencyKey') return { name, part: name };
  if (name === 'version' && operation === 'update') return { name, part: 'version', read: readNumber };
  const field = collection.fields.get(name);
  if (field) return { name, part: 'field', field, read: readerOf(field.schema) };
  const dot = name.indexOf('.');
  const outer = dot === -1 ? undefined : collection.fields.get(name.slice(0, dot));
  const member = name.slice(dot + 1);
  const { type, properties } = (outer?.schema ?? {}) as { type?: string; properties?: Record<string, object> };
  if (outer && type === 'object' && member !== '' && member !== '__proto__') {
    const known = properties && Object.hasOwn(properties, member) ? properties[member] : undefined;
    return { name, part: 'field', field: outer, member, read: known && readerOf(known) };
  }
  const others = operation === 'update' ? ['version', 'ref', 'idempotencyKey'] : ['ref', 'idempotencyKey'];
  const known = [collection.idField, ...collection.fields.keys(), ...others].join(', ');
  throw badHeader(name, `is not known. The columns are: ${known}; members of an object as field.member.`);
}

function readerOf(schema: unknown): Column['read'] {
  const kind = jsonKind(schema);
  if (kind === 'number' || kind === 'integer') return readNumber;
  if (kind === 'boolean') return readBoolean;
  if (kind === 'json') return readJsonCell;
  return undefined;
}

const numberForm = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;

function readNumber(text: string): number {
  const value = Number(text);
  if (numberForm.test(text) && Number.isFinite(value)) return value;
  throw new CellProblem(`${quoted(text)} is no number.`);
}

function readBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new CellProblem(`${quoted(text)} is neither true nor false.`);
}

function readJsonCell(text: string): Json {
  try {
    return readJson(text);
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    throw new CellProblem(
      `The cell ${error.fault.reason} ${error.fault.remedy}`.replace(/([^.]) Mend/, '$1. Mend').trim(),
    );
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 50 ? `${text.slice(0, 50)}…` : text);
}

function readRecord(
  record: readonly string[],
  line: number,
  columns: readonly Column[],
  rules: ItemRules,
): StreamedItem {
  const { itemBytes } = rules.limits;
  const textOf = (part: Column['part']) => record[columns.findIndex((column) => column.part === part)] || undefined;
  const broken = (message: string, column?: string): BrokenItem => {
    const id = textOf('id');
    const ref = textOf('ref');
    return {
      line,
      column,
      message,
      id: id !== undefined && id.length <= rules.limits.idLength ? id.replaceAll('\u0000', '') : undefined,
      ref: ref !== undefined && ref.length <= rules.limits.textLength ? ref.replaceAll('\u0000', '') : undefined,
    };
  };
  if (record.length !== columns.length) {
    return broken(`The row has ${record.length} cells, the header has ${columns.length} columns.`);
  }
  let bytes = 0;
  const fields: JsonObject = {};
  const value: JsonObject = { fields };
  for (const [at, column] of columns.entries()) {
    const cell = record[at] as string;
    if (cell === '') continue;
    bytes += Buffer.byteLength(cell);
    if (cell.includes('\u0000')) return broken('Text must not contain the NUL character (U+0000).', column.name);
    try {
      put(value, fields, column, cell);
    } catch (error) {
      if (error instanceof CellProblem) return broken(error.message, column.name);
      throw error;
    }
  }
  if (bytes > itemBytes) return broken(`The item has ${bytes} bytes; an item may have ${itemBytes}.`);
  return parseStreamedItem(rules, value, line);
}

function put(value: JsonObject, fields: JsonObject, { part, field, member, read }: Column, cell: string): void {
  if (part !== 'field') {
    value[part] = read ? read(cell) : cell;
    return;
  }
  if (!field) return;
  const content = cell === nullCell ? null : read ? read(cell) : cell;
  if (member === undefined) fields[field.name] = content;
  else fields[field.name] = { ...(fields[field.name] as JsonObject | undefined), [member]: content };
}
