import { parse } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';
import { CommandError } from './failure.ts';

const longestHeader = 1024 * 1024;
const quote = 0x22;
const newline = 0x0a;

/** Other names for columns: the name in the file, the name of the field. */
export function readColumnMap(pairs: readonly string[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const pair of pairs) {
    const [, column, field] = /^(.+)=([^=]+)$/s.exec(pair) ?? [];
    if (column === undefined || field === undefined) {
      throw new CommandError(
        `--map is ${JSON.stringify(pair)}; it must be column=field, such as "Case Number"=caseId.`,
      );
    }
    if (names.has(column))
      throw new CommandError(`--map names the column ${JSON.stringify(column)} twice. Give it once.`);
    names.set(column, field);
  }
  return names;
}

/**
 * The bytes of a CSV file with other names in its header; all that follows passes through as it is, so that lines keep their numbers.
 * Throws CommandError for a column that the header does not have, before anything is given on.
 */
export async function* renameColumns(
  bytes: AsyncIterable<Uint8Array>,
  names: ReadonlyMap<string, string>,
): AsyncGenerator<Uint8Array> {
  let start = Buffer.alloc(0);
  let passed = false;
  for await (const piece of bytes) {
    if (passed) {
      yield piece;
      continue;
    }
    start = Buffer.concat([start, piece]);
    const end = endOfHeader(start);
    if (end === -1) {
      if (start.length > longestHeader)
        throw new CommandError('The first line of the file is longer than 1 MiB. Is it CSV?');
      continue;
    }
    passed = true;
    yield renamed(start.subarray(0, end), names);
    yield start.subarray(end);
  }
  if (!passed) yield renamed(start, names);
}

/** Behind the line break that ends the first record; one within quotes does not. */
function endOfHeader(bytes: Uint8Array): number {
  let quoted = false;
  for (const [at, byte] of bytes.entries()) {
    if (byte === quote) quoted = !quoted;
    if (byte === newline && !quoted) return at + 1;
  }
  return -1;
}

function renamed(header: Buffer, names: ReadonlyMap<string, string>): Buffer {
  const [columns = []] = parse(header, { bom: true, relax_column_count: true }) as string[][];
  const missing = [...names.keys()].find((name) => !columns.includes(name));
  if (missing !== undefined) {
    const has = columns.map((column) => JSON.stringify(column)).join(', ');
    throw new CommandError(`The file has no column ${JSON.stringify(missing)}, which --map names. It has: ${has}.`);
  }
  return Buffer.from(stringify([columns.map((column) => names.get(column) ?? column)]));
}
