import { once } from 'node:events';
import { styleText } from 'node:util';
import Table from 'cli-table3';

type Style = Parameters<typeof styleText>[0];

/** Coloured where the stream is a terminal and nobody asked for plain text (NO_COLOR). */
export function paint(style: Style, text: string, stream: 'stdout' | 'stderr' = 'stdout'): string {
  return styleText(style, text, { stream: process[stream] });
}

/** Writes to standard output, no faster than it is read. */
export async function write(text: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** For people, beside the answer: standard output stays for programs. */
export function writeError(text: string): void {
  process.stderr.write(text);
}

export async function writeJson(value: unknown): Promise<void> {
  await write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Writes a list as one JSON document, row by row. */
export async function writeJsonList(rows: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
  let before = '[\n';
  for await (const row of rows) {
    await write(`${before}${JSON.stringify(row)}`);
    before = ',\n';
  }
  await write(before === '[\n' ? '[]\n' : '\n]\n');
}

export type Column<Row> = readonly [title: string, cell: (row: Row) => unknown, align?: 'right'];

/** Rows in aligned columns. */
export function tableOf<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const table = plainTable(columns.map(([, , align]) => align ?? 'left'));
  table.push(columns.map(([title]) => paint('bold', title)));
  for (const row of rows) table.push(columns.map(([, cell]) => textOf(cell(row))));
  return linesOf(table);
}

/** Names and values, one a line. */
export function recordOf(members: Readonly<Record<string, unknown>>): string {
  const table = plainTable();
  for (const [name, value] of Object.entries(members)) table.push([paint('bold', name), textOf(value)]);
  return linesOf(table);
}

function plainTable(colAligns: Table.HorizontalAlignment[] = []): Table.Table {
  const border = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'];
  const inner = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  return new Table({
    colAligns,
    chars: { ...Object.fromEntries([...border, ...inner].map((name) => [name, ''])), middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
}

function linesOf(table: Table.Table): string {
  const lines = table.toString().split('\n');
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** A value as people read it. What would steer a terminal, or break a line, becomes a space. */
export function textOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.replace(/\p{Cc}/gu, ' ');
}

export function count(value: number, decimals = 0): string {
  return value.toLocaleString('en', { minimumFractionDigits: decimals });
}

/** `1 item`, `1,234 items`. */
export function countOf(value: number, one: string): string {
  return `${count(value)} ${one}${value === 1 ? '' : 's'}`;
}
