import type { Command } from 'commander';
import { CommandError } from './failure.ts';
import { tellList } from './lists.ts';
import { type Column, write, writeError, writeJson } from './output.ts';
import { globalsOf } from './session.ts';

const tenantOption = ['--tenant <name>', 'whose keys', 'default'] as const;

/** `docket keys ..`, on the database itself: who has no key yet could not ask the server. */
export function addKeyCommands(program: Command): void {
  const group = program
    .command('keys')
    .summary('API keys, on the database of the server')
    .description(
      'API keys, on the database that the server uses: that of DATABASE_URL, or the embedded one in DOCKET_DATA_DIR (.docket), ' +
        'whether a server runs on it or not.',
    );

  group
    .command('create')
    .summary('make a key, and print it this once')
    .description('Makes a key, and prints it: it cannot be read again. A tenant that is not there yet is made too.')
    .argument('<name>', 'who it is for; stands in the history of what is done with it')
    .option(...tenantOption)
    .option('--expires <time>', 'until when it is good: 90d, 12h, or a time such as 2027-01-31T00:00:00Z')
    .addHelpText(
      'after',
      '\nExamples:\n  docket keys create kim\n  export DOCKET_API_KEY=$(docket keys create nightly-import --expires 90d)',
    )
    .action(async (name: string, { tenant, expires }: { tenant: string; expires?: string }, self: Command) => {
      if (name.trim() === '' || tenant.trim() === '') throw new CommandError('A key and its tenant need names.');
      const expiresAt = expires === undefined ? undefined : readTime(expires);
      const [{ withDatabase }, { createApiKey }] = await Promise.all([
        import('./database.ts'),
        import('../api-keys.ts'),
      ]);
      const input = { tenantId: tenant, name, ...(expiresAt === undefined ? {} : { expiresAt }) };
      const made = await withDatabase(({ pool }) => pool.transaction((tx) => createApiKey(tx, input)));
      if (globalsOf(self).json) {
        await writeJson({ ...made, tenant, name, expiresAt: expiresAt?.toISOString() ?? null });
        return;
      }
      writeError(`The key of ${name} (${made.keyId}). It is shown only this once:\n`);
      await write(`${made.key}\n`);
    });

  group
    .command('list')
    .description('the keys of a tenant, without the keys themselves')
    .option(...tenantOption)
    .addHelpText('after', '\nExamples:\n  docket keys list\n  docket keys list --tenant acme --json')
    .action(async ({ tenant }: { tenant: string }, self: Command) => {
      const [{ withDatabase }, { listApiKeys }] = await Promise.all([
        import('./database.ts'),
        import('../api-keys.ts'),
      ]);
      const keys = await withDatabase(({ pool }) => listApiKeys(pool, tenant));
      const columns: Column<(typeof keys)[number]>[] = [
        ['KEY ID', ({ keyId }) => keyId],
        ['NAME', ({ name }) => name],
        ['ENDS IN', ({ hint }) => hint],
        ['STATE', ({ state }) => state],
        ['CREATED', ({ createdAt }) => createdAt],
        ['EXPIRES', ({ expiresAt }) => expiresAt],
      ];
      async function* rows() {
        yield* keys;
      }
      await tellList(rows(), { json: globalsOf(self).json, limit: 0, columns });
    });

  group
    .command('revoke')
    .description('take a key out of force, in every server within five seconds')
    .argument('<key id>')
    .option(...tenantOption)
    .addHelpText('after', '\nExamples:\n  docket keys revoke 0199c1d2-7c1e-7b6a-9f65-2f6f0c1f3a10')
    .action(async (keyId: string, { tenant }: { tenant: string }, self: Command) => {
      const isId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(keyId);
      const [{ withDatabase }, { revokeApiKey }] = await Promise.all([
        import('./database.ts'),
        import('../api-keys.ts'),
      ]);
      const revoked = isId && (await withDatabase(({ pool }) => revokeApiKey(pool, { tenantId: tenant, keyId })));
      if (!revoked) {
        throw new CommandError(
          `The tenant ${tenant} has no key ${keyId} in force. \`docket keys list\` shows its keys.`,
        );
      }
      if (globalsOf(self).json) await writeJson({ keyId, tenant, revoked });
      else await write(`${keyId} is revoked.\n`);
    });
}

const units = { h: 3_600_000, d: 86_400_000 } as const;

function readTime(text: string): Date {
  const [, number, unit] = /^(\d{1,6})([hd])$/.exec(text) ?? [];
  const time = unit ? new Date(Date.now() + Number(number) * units[unit as keyof typeof units]) : new Date(text);
  if (!Number.isNaN(time.getTime()) && time.getTime() > Date.now()) return time;
  throw new CommandError(
    `--expires is ${JSON.stringify(text)}; it must be a time to come: 90d, 12h, or 2027-01-31T00:00:00Z.`,
  );
}
