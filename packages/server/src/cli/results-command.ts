import type { ItemResult, ResultFilter } from '@docket/client';
import type { Command } from 'commander';
import { tellList } from './lists.ts';
import { type Column, write, writeError } from './output.ts';
import { openSession, several, wholeNumber } from './session.ts';

interface Options {
  failed?: boolean;
  status?: ItemResult<unknown>['status'];
  code?: string[];
  csv?: boolean;
  ndjson?: boolean;
  limit?: number;
}

export function addResultsCommand(program: Command): void {
  const command = program.command('results');
  command
    .summary('what became of each item of a job')
    .description('What became of each item of a job, in the order in which they were sent.')
    .argument('<job>')
    .addOption(command.createOption('--failed', 'only those that failed').conflicts(['status']))
    .addOption(
      command.createOption('--status <status>', 'only these').choices(['succeeded', 'failed', 'not_processed']),
    )
    .option('--code <code>', 'only failures with this code; several: any of them', several)
    .addOption(
      command.createOption('--csv', 'all, as CSV: what was asked, then the outcome').conflicts(['ndjson', 'limit']),
    )
    .addOption(command.createOption('--ndjson', 'all, as one JSON object a line').conflicts(['limit']))
    .option('--limit <count>', 'rows at most; 0 for all. Default: 100, with --json all', wholeNumber(0))
    .addHelpText(
      'after',
      `
Examples:
  docket results job_0199c1d27c1e7b6a9f652f6f0c1f3a10 --failed
  docket results job_0199c1d27c1e7b6a9f652f6f0c1f3a10 --code not_found --code version_conflict --csv > failed.csv`,
    )
    .action(async (jobId: string, options: Options, self: Command) => {
      const { docket, json } = openSession(self);
      const { csv, ndjson, code, failed } = options;
      if ((csv || ndjson) && json)
        self.error('error: --json is not for --csv and --ndjson, which are forms of their own');
      const status = failed ? 'failed' : options.status;
      const filter: ResultFilter = {
        ...(status === undefined ? {} : { status }),
        ...(code === undefined ? {} : { code }),
      };
      const { outcome, status: state } = await docket.jobs.get(jobId);
      if (outcome === null) writeError(`The job is ${state}: these are the results so far.\n`);
      if (csv || ndjson) {
        const type = csv ? 'text/csv' : 'application/x-ndjson';
        for await (const bytes of docket.jobs.download(jobId, type, filter)) await write(bytes);
        return;
      }
      const limit = options.limit ?? (json ? 0 : 100);
      await tellList(docket.jobs.results(jobId, filter), { json, limit, columns });
    });
}

const columns: Column<ItemResult<unknown>>[] = [
  ['INDEX', ({ index }) => index],
  ['ID', ({ id }) => id],
  ['REF', ({ ref }) => ref],
  ['STATUS', ({ status, changed }) => (changed === false ? 'succeeded, was so already' : status)],
  ['VERSION', ({ version }) => version],
  ['CODE', ({ error }) => error?.code],
  ['MESSAGE', ({ error }) => error?.message],
];
