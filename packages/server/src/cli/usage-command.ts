import type { Usage, UsageCounts } from '@docket/client';
import type { Command } from 'commander';
import { type Column, count, paint, tableOf, write, writeJson } from './output.ts';
import { openSession } from './session.ts';

export function addUsageCommand(program: Command): void {
  program
    .command('usage')
    .summary('what was sent in a month, by day')
    .description(
      'What was sent in a month, by day, and what it cost in credits. Dry runs are counted and cost nothing.',
    )
    .option('--month <month>', 'as 2026-11; otherwise the current one (UTC)')
    .addHelpText('after', '\nExamples:\n  docket usage\n  docket usage --month 2026-11 --json')
    .action(async ({ month }: { month?: string }, self: Command) => {
      const { docket, json } = openSession(self);
      const usage = await docket.usage(month);
      if (json) await writeJson(usage);
      else await write(usageTable(usage, process.stdout.isTTY ? process.stdout.columns || 80 : 0));
    });
}

const barWidth = { least: 5, most: 30 };

/** A line for each day, with a bar for its credits where a terminal has room for one, and their sum. */
export function usageTable({ days, total }: Usage, terminalColumns: number): string {
  const rows = [...days, { day: 'total', ...total }];
  const [head = '', ...lines] = tableOf(rows, columnsFor(rows)).trimEnd().split('\n');
  const sum = lines.pop() ?? '';
  const most = Math.max(...days.map(({ credits }) => credits));
  const width = Math.min(terminalColumns - sum.length - 2, barWidth.most);
  const barOf = (credits: number) =>
    width < barWidth.least || credits === 0
      ? ''
      : `  ${paint('green', '#'.repeat(Math.ceil((credits / most) * width)))}`;
  const charted = lines.map((line, at) => line + barOf(days[at]?.credits ?? 0));
  return `${[head, ...charted, paint('bold', sum)].join('\n')}\n`;
}

function columnsFor(rows: readonly UsageCounts[]): Column<UsageCounts & { day: string }>[] {
  // why as many everywhere: the points stand below each other
  const decimals = Math.max(...rows.map(({ credits }) => String(credits).split('.')[1]?.length ?? 0));
  return [
    ['DAY', ({ day }) => day],
    ['BATCHES', ({ batches }) => count(batches), 'right'],
    ['ITEMS', ({ items }) => count(items), 'right'],
    ['CREDITS', ({ credits }) => count(credits, decimals), 'right'],
  ];
}
