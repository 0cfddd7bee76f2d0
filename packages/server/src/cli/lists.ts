import { type Column, tableOf, write, writeError, writeJsonList } from './output.ts';

interface List<Row> {
  json: boolean;
  /** 0: all rows. */
  limit: number;
  columns: readonly Column<Row>[];
}

/** Prints the first rows as a table or as JSON, and says where there are more. */
export async function tellList<Row>(rows: AsyncIterable<Row>, { json, limit, columns }: List<Row>): Promise<void> {
  let more = false;
  async function* first(): AsyncGenerator<Row> {
    let given = 0;
    for await (const row of rows) {
      more = limit > 0 && given === limit;
      if (more) return;
      given += 1;
      yield row;
    }
  }
  if (json) await writeJsonList(first());
  else await write(tableOf(await gather(first()), columns));
  if (more) writeError(`There are more than ${limit}. --limit shows others, --limit 0 all.\n`);
}

async function gather<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const all: Row[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

/** `status: "New" -> "Active", assignee: null -> "kim"` */
export function changesOf(before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): string {
  return Object.entries(after)
    .map(([name, value]) => `${name}: ${JSON.stringify(before[name] ?? null)} -> ${JSON.stringify(value)}`)
    .join(', ');
}
