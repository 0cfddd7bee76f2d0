import type { Command } from 'commander';
import { readFields, readWhere } from './assignments.ts';
import { carryOut } from './preview.ts';
import { openSession, several, wholeNumber } from './session.ts';

interface Options {
  where?: string[];
  all?: boolean;
  set?: string[];
  setJson?: string[];
  unset?: string[];
  expect?: number;
  dryRun?: boolean;
  yes?: boolean;
  label?: string;
  priority?: 'low' | 'normal' | 'high';
  detach?: boolean;
}

export function addUpdateCommand(program: Command): void {
  const command = program
    .command('update')
    .summary('change every record that matches')
    .description(
      'Changes every record that matches: shows first how many, and what would become of them, asks, and applies exactly that. ' +
        'Exits with 2 when some items failed.',
    )
    .argument('<collection>', 'cases, orders, or another collection of the server')
    .option(
      '--where <filter=value>',
      'which records; several filters must all hold, several values of one filter: any',
      several,
    )
    .option('--all', 'every record of the collection')
    .option('--expect <count>', 'refuse unless so many match', wholeNumber(0));
  addAssignmentOptions(command);
  addChangeOptions(command)
    .addHelpText(
      'after',
      `
A filter without a value (--where assignee=) selects records that have none. --set takes text as it stands; numbers, booleans and
whole objects go into --set-json. data.site sets a member of data.

Examples:
  docket update cases --where status="In Progress" --set status="Under Review" --dry-run
  docket update cases --where priority=high --where priority=urgent --where assignee= --set assignee=kim
  docket update orders --where customer=Ada --set-json amount=12.5 --unset note --expect 3 --yes`,
    )
    .action(async (collection: string, options: Options, self: Command) => {
      const where = readWhere(options.where);
      if (Object.keys(where).length === 0 && !options.all) {
        self.error('error: say which records: --where filter=value, or --all for every one of them');
      }
      const fields = readFields(options);
      const session = openSession(self);
      const { expect: expectedCount, label, priority } = options;
      const selection = { where, fields, ...(expectedCount === undefined ? {} : { expectedCount }) };
      await carryOut(session, {
        ...options,
        send: ({ dryRun }) =>
          session.docket.collection(collection).bulkUpdate(selection as never, {
            dryRun,
            return: 'minimal',
            // why: a small batch is answered at its end otherwise
            ...(options.detach && !dryRun ? { mode: 'async' } : {}),
            ...(label === undefined ? {} : { label }),
            ...(priority === undefined ? {} : { priority }),
          }),
      });
    });
}

/** What fields become. */
export function addAssignmentOptions(command: Command): Command {
  return command
    .option('--set <field=text>', 'a field and its new text', several)
    .option('--set-json <field=json>', 'a field and its new value as JSON', several)
    .option('--unset <field>', 'a field that is to have no value', several);
}

/** How a large change is made. */
export function addChangeOptions(command: Command): Command {
  return command
    .option('--dry-run', 'show what would happen, change nothing')
    .option('-y, --yes', 'do not ask')
    .option('--label <name>', 'a name to find the job by')
    .addOption(
      command.createOption('--priority <priority>', 'which jobs come first').choices(['low', 'normal', 'high']),
    )
    .option('--detach', 'do not wait for the end');
}
