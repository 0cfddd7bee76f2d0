import type { Command } from 'commander';
import { exitCodes } from './exit-codes.ts';
import { write, writeJson } from './output.ts';
import { globalsOf } from './session.ts';

/** Commands that are the server, or work on its database. What they need is loaded when they are asked for. */
export function addServerCommands(program: Command): void {
  program
    .command('serve')
    .summary('start the server (also: docket alone)')
    .description(
      'Starts the server as the environment says, and serves until it is asked to stop. `docket` alone does the same.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  docket serve\n  PORT=8080 DATABASE_URL=postgres://docket:secret@db.internal/docket docket serve',
    )
    .action(async () => {
      const { serve } = await import('../serve.ts');
      await serve();
    });

  program
    .command('demo')
    .summary('replay a real incident log on a throw-away server')
    .description(
      'Replays a real incident log on a throw-away server, and checks every answer. Exits with 1 when one was not true.',
    )
    .addHelpText('after', '\nExamples:\n  docket demo')
    .action(async () => {
      const { runDemo } = await import('../demo/demo.ts');
      if (!(await runDemo())) process.exitCode = exitCodes.error;
    });

  program
    .command('migrate')
    .summary('bring the database up to date')
    .description(
      'Brings the database up to date, as each server does when it starts. An embedded database that is not there is made, ' +
        'without sample cases.',
    )
    .addHelpText('after', '\nExamples:\n  DATABASE_URL=postgres://docket:secret@db.internal/docket docket migrate')
    .action(async (_options: object, self: Command) => {
      const [{ withDatabase }, { migrations }] = await Promise.all([
        import('./database.ts'),
        import('../migrations.ts'),
      ]);
      const applied = await withDatabase((engine) => engine.migrate([migrations]), { create: true });
      if (globalsOf(self).json) return await writeJson({ applied });
      const done = applied.map((file) => `applied ${file}\n`).join('');
      await write(done || 'The database is up to date already.\n');
    });
}
