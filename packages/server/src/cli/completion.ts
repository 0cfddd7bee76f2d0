import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';

/** `docket completion <shell>`, and the hidden command by which that asks. To be called when all other commands are there. */
export function addCompletion(program: Command): void {
  tab(program, { completionCommandName: 'completion' });
  program.commands
    .find((command) => command.name() === 'completion')
    ?.description('a script that completes commands and options in your shell')
    .addHelpText('after', '\nExamples:\n  source <(docket completion bash)\n  docket completion fish | source');
}
