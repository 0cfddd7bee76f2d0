import { Command } from 'commander';
import { version } from '../version.ts';
import { addCompletion } from './completion.ts';
import { addDoctorCommand } from './doctor-command.ts';
import { reportFailure } from './failure.ts';
import { addImportCommand } from './import-command.ts';
import { addJobCommands } from './jobs-commands.ts';
import { addKeyCommands } from './keys-commands.ts';
import { addRecordCommands } from './records-commands.ts';
import { addResultsCommand } from './results-command.ts';
import { addServerCommands } from './server-commands.ts';
import { addUpdateCommand } from './update-command.ts';
import { addUsageCommand } from './usage-command.ts';
import { addWebhookCommands } from './webhooks-commands.ts';

/** The whole `docket` command. Nothing happens until it is given arguments. */
export function createProgram(): Command {
  const program = new Command('docket')
    .description('Case management whose bulk updates can be trusted.')
    .version(version)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(--help says how it is used)')
    .option('--json', 'answer with JSON on standard output')
    .option('--url <url>', 'where the server is; otherwise DOCKET_URL, or http://127.0.0.1:3000')
    .option('--api-key <key>', 'otherwise DOCKET_API_KEY, which others on this machine cannot see')
    .option('--verbose', 'show causes and stack traces of errors');
  addServerCommands(program);
  addKeyCommands(program);
  addRecordCommands(program);
  addUpdateCommand(program);
  addImportCommand(program);
  addJobCommands(program);
  addResultsCommand(program);
  addWebhookCommands(program);
  addUsageCommand(program);
  addDoctorCommand(program);
  addCompletion(program);
  return program.addHelpText(
    'after',
    `
Exit codes: 0 all succeeded, 1 an error, 2 some items failed, 130 left with Ctrl-C.

Examples:
  docket                                                      start the server
  docket update cases --where status=New --set assignee=kim   look first, then change many
  docket import cases.csv                                     the same from a file
  docket jobs list                                            what was sent
  docket doctor                                               what is wrong`,
  );
}

/** Whoever reads what is written may have seen enough: `docket results .. | head`. */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

/** Runs the command that the arguments name. Ends with `process.exitCode` set; never throws. */
export async function runCommand(args: readonly string[]): Promise<void> {
  const program = createProgram().hook('preAction', (_, command) => {
    if (command.name() !== 'serve') endWithReader();
  });
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    process.exitCode = reportFailure(error, { json: args.includes('--json'), verbose: args.includes('--verbose') });
  }
}
