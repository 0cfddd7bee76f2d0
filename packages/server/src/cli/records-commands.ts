import type { HistoryEntry } from '@docket/client';
import type { Command } from 'commander';
import { readFields, readWhere } from './assignments.ts';
import { changesOf, tellList } from './lists.ts';
import { type Column, recordOf, write, writeJson } from './output.ts';
import { openSession, several, wholeNumber } from './session.ts';
import { addAssignmentOptions } from './update-command.ts';

type Row = Record<string, unknown>;

interface Kind {
  name: string;
  one: string;
  example: string;
  columns: readonly string[];
}

const kinds: readonly Kind[] = [
  {
    name: 'cases',
    one: 'case',
    example: 'CASE-1',
    columns: ['caseId', 'status', 'priority', 'assignee', 'updatedAt', 'title'],
  },
  {
    name: 'orders',
    one: 'order',
    example: 'ORD-1',
    columns: ['orderId', 'status', 'customer', 'amount', 'currency', 'updatedAt'],
  },
];

/** Look at and change single records: `docket cases ..`, `docket orders ..`. */
export function addRecordCommands(program: Command): void {
  for (const kind of kinds) addKind(program, kind);
}

function addKind(program: Command, { name, one, example, columns }: Kind): void {
  const group = program.command(name).description(`look at ${name}, and change a single ${one}`);

  group
    .command('list')
    .description(`${name} that match, in a stable order`)
    .option('--where <filter=value>', 'several filters must all hold, several values of one filter: any', several)
    .option('--sort <field>', 'in the order of a field; -field for the other way round')
    .option('--limit <count>', 'rows at most; 0 for all', wholeNumber(0), 50)
    .addHelpText('after', `\nExamples:\n  docket ${name} list --where status=New --sort=-updatedAt --limit 10`)
    .action(async (options: { where?: string[]; sort?: string; limit: number }, self: Command) => {
      const { docket, json } = openSession(self);
      const { sort, limit } = options;
      const query = { ...readWhere(options.where), ...(sort === undefined ? {} : { sort }) };
      const cells = columns.map((column): Column<Row> => [column, (row) => row[column]]);
      await tellList(docket.collection<Row>(name).list(query), { json, limit, columns: cells });
    });

  group
    .command('get')
    .description(`a ${one} as it is now`)
    .argument('<id>')
    .addHelpText('after', `\nExamples:\n  docket ${name} get ${example}\n  docket ${name} get ${example} --json`)
    .action(async (id: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tell(await docket.collection<Row>(name).get(id), json);
    });

  addAssignmentOptions(group.command('set'))
    .description(`change a ${one}`)
    .argument('<id>')
    .argument('[field=text...]', 'as with --set')
    .option('--if-version <version>', 'only if it has this version', wholeNumber(1))
    .addHelpText(
      'after',
      `\nExamples:\n  docket ${name} set ${example} status=${name === 'cases' ? '"Under Review"' : 'paid'}\n` +
        `  docket ${name} set ${example} --unset ${name === 'cases' ? 'assignee' : 'note'} --if-version 3`,
    )
    .action(
      async (
        id: string,
        pairs: string[],
        options: { set?: string[]; setJson?: string[]; unset?: string[]; ifVersion?: number },
        self: Command,
      ) => {
        const fields = readFields({ ...options, set: [...pairs, ...(options.set ?? [])] });
        const { docket, json } = openSession(self);
        const { ifVersion } = options;
        const record = docket.collection<Row>(name);
        await tell(await record.patch(id, fields, ifVersion === undefined ? {} : { ifVersion }), json);
      },
    );

  group
    .command('history')
    .description(`the changes of a ${one}, newest first`)
    .argument('<id>')
    .option('--limit <count>', 'changes at most; 0 for all', wholeNumber(0), 50)
    .addHelpText('after', `\nExamples:\n  docket ${name} history ${example} --limit 5`)
    .action(async (id: string, { limit }: { limit: number }, self: Command) => {
      const { docket, json } = openSession(self);
      await tellList(docket.collection<Row>(name).history(id), { json, limit, columns: historyColumns });
    });
}

const historyColumns: Column<HistoryEntry>[] = [
  ['VERSION', ({ version }) => version],
  ['WHEN', ({ changedAt }) => changedAt],
  ['WHO', ({ actor }) => actor],
  ['CHANGE', ({ before, after }) => (before === null ? 'created' : changesOf(before, after))],
  ['JOB', ({ jobId }) => jobId],
];

async function tell(record: Row, json: boolean): Promise<void> {
  await (json ? writeJson(record) : write(recordOf(record)));
}
