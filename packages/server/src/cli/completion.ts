import completions from '@bomb.sh/tab';
import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { write } from './output.ts';

/** What a shell reads as: nothing from here, complete the names of files. */
const filesOfShell = ':0\n';
/** Puts the names of files where bash would otherwise offer nothing. */
const bashFiles = 'complete -o default -F __docket_complete docket\n';

/** `docket completion <shell>`, and the hidden command by which that asks. To be called when all other commands are there. */
export function addCompletion(program: Command): void {
  tab(program, { completionCommandName: 'completion' });
  const find = (name: string) => program.commands.find((command) => command.name() === name);
  find('completion')
    ?.description('a script that completes commands and options in your shell')
    .addHelpText('after', '\nExamples:\n  source <(docket completion bash)\n  docket completion fish | source')
    .hook('postAction', async (command) => {
      if (command.args[0] === 'bash') await write(bashFiles);
    });
  find('complete')?.action(async (words: string[]) => {
    if (isFile(words, find('import'))) await write(filesOfShell);
    else completions.parse(words);
  });
}

/** Whether the last of these words is the file of `docket import`. */
function isFile([name, ...words]: readonly string[], importing: Command | undefined): boolean {
  const [before = '', last = ''] = [words.at(-2), words.at(-1)];
  const option = importing?.options.find(({ long, short }) => before === long || before === short);
  return name === 'import' && !last.startsWith('-') && !option?.required;
}
