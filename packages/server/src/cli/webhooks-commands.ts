import type { WebhookDelivery, WebhookEndpoint } from '@docket/client';
import type { Command } from 'commander';
import { tellList } from './lists.ts';
import { type Column, countOf, recordOf, tableOf, write, writeError, writeJson } from './output.ts';
import { openSession, several, wholeNumber } from './session.ts';

const example = 'wh_0199c1d27c1e7b6a9f652f6f0c1f3a10';
const defaultEvents = ['job.completed', 'job.failed', 'job.cancelled'];

/** `docket webhooks ..` */
export function addWebhookCommands(program: Command): void {
  const group = program.command('webhooks').description('who is told when something happens');
  addReads(group);
  addWrites(group);
  addDeliveries(group);
}

interface UpdateOptions {
  to?: string;
  event?: string[];
  envelope?: 'standard' | 'cloudevents';
}

function addReads(group: Command): void {
  group
    .command('list')
    .description('the endpoints, newest first')
    .addHelpText('after', '\nExamples:\n  docket webhooks list')
    .action(async (_options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tellList(docket.webhooks.list(), { json, limit: 0, columns: endpointColumns });
    });

  group
    .command('get')
    .alias('show')
    .description('an endpoint as it is now')
    .argument('<webhook>')
    .addHelpText('after', `\nExamples:\n  docket webhooks get ${example}`)
    .action(async (id: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tell(await docket.webhooks.get(id), json);
    });
}

function addWrites(group: Command): void {
  const create = group.command('create').description('tell a URL what happens; prints the secret, this once');
  create
    .argument('<url>')
    .option('--event <type>', `what to tell, several times for several; otherwise ${defaultEvents.join(', ')}`, several)
    .addOption(create.createOption('--envelope <form>', 'of the body').choices(['standard', 'cloudevents']))
    .option('--disabled', 'do not tell anything yet')
    .addHelpText('after', '\nExamples:\n  docket webhooks create https://desk.example.com/hooks --event cases.updated')
    .action(
      async (
        url: string,
        options: { event?: string[]; envelope?: 'standard' | 'cloudevents'; disabled?: boolean },
        self: Command,
      ) => {
        const { docket, json } = openSession(self);
        const { event: events = defaultEvents, envelope, disabled } = options;
        const endpoint = { url, events, ...(envelope === undefined ? {} : { envelope }), enabled: !disabled };
        await tell(await docket.webhooks.create(endpoint), json);
        if (!json) writeError('The secret is shown only this once.\n');
      },
    );

  const update = group.command('update').description('change where it is, what it is told, or the form of that');
  update
    .argument('<webhook>')
    .option('--to <url>', 'where it is to be told')
    .option('--event <type>', 'what to tell, several times for several; replaces what was told before', several)
    .addOption(update.createOption('--envelope <form>', 'of the body').choices(['standard', 'cloudevents']))
    .addHelpText(
      'after',
      `\nExamples:\n  docket webhooks update ${example} --to https://desk.example.com/new --event job.completed`,
    )
    .action(async (id: string, { to: url, event: events, envelope }: UpdateOptions, self: Command) => {
      if (url === undefined && events === undefined && envelope === undefined) {
        self.error('error: say what is to change: --to, --event or --envelope');
      }
      const { docket, json } = openSession(self);
      const changes = {
        ...(url === undefined ? {} : { url }),
        ...(events === undefined ? {} : { events }),
        ...(envelope === undefined ? {} : { envelope }),
      };
      await tell(await docket.webhooks.update(id, changes), json);
    });

  for (const [name, enabled] of [
    ['enable', true],
    ['disable', false],
  ] as const) {
    group
      .command(name)
      .description(enabled ? 'tell it again what happens' : 'tell it nothing, until it is enabled')
      .argument('<webhook>')
      .addHelpText('after', `\nExamples:\n  docket webhooks ${name} ${example}`)
      .action(async (id: string, _options: object, self: Command) => {
        const { docket, json } = openSession(self);
        await tell(await docket.webhooks.update(id, { enabled }), json);
      });
  }

  group
    .command('rotate')
    .description('a new secret, printed this once; the old one signs too for 24 hours')
    .argument('<webhook>')
    .addHelpText('after', `\nExamples:\n  docket webhooks rotate ${example}`)
    .action(async (id: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tell(await docket.webhooks.rotate(id), json);
    });

  group
    .command('delete')
    .description('remove an endpoint and its deliveries')
    .argument('<webhook>')
    .addHelpText('after', `\nExamples:\n  docket webhooks delete ${example}`)
    .action(async (id: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await docket.webhooks.delete(id);
      if (json) await writeJson({ webhookId: id, deleted: true });
      else await write(`${id} is removed.\n`);
    });
}

function addDeliveries(group: Command): void {
  group
    .command('test')
    .description('send a test event')
    .argument('<webhook>')
    .addHelpText('after', `\nExamples:\n  docket webhooks test ${example}`)
    .action(async (id: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tellDelivery(await docket.webhooks.test(id), json);
    });

  const list = group.command('deliveries').description('what was, and is to be, told to an endpoint, newest first');
  list
    .argument('<webhook>')
    .addOption(list.createOption('--status <status>', 'only these').choices(['pending', 'delivered', 'failed']))
    .option('--event <type>', 'only these')
    .option('--limit <count>', 'rows at most; 0 for all', wholeNumber(0), 20)
    .addHelpText('after', `\nExamples:\n  docket webhooks deliveries ${example} --status failed`)
    .action(
      async (
        id: string,
        { limit, ...filters }: { status?: WebhookDelivery['status']; event?: string; limit: number },
        self: Command,
      ) => {
        const { docket, json } = openSession(self);
        await tellList(docket.webhooks.deliveries(id, filters), { json, limit, columns: deliveryColumns });
      },
    );

  group
    .command('resend')
    .description('tell an event again, whatever became of it')
    .argument('<webhook>')
    .argument('<delivery>')
    .addHelpText('after', `\nExamples:\n  docket webhooks resend ${example} msg_0199c1d27c1e7b6a9f652f6f0c1f3a10`)
    .action(async (id: string, deliveryId: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tellDelivery(await docket.webhooks.resend(id, deliveryId), json);
    });

  const replay = group
    .command('replay')
    .description('tell again what happened since a time, and does not wait to be told');
  replay
    .argument('<webhook>')
    .requiredOption('--since <time>', 'such as 2026-05-04T09:00:00Z')
    .addOption(replay.createOption('--only <which>', 'failed: what was given up').choices(['all', 'failed']))
    .addHelpText('after', `\nExamples:\n  docket webhooks replay ${example} --since 2026-05-04T09:00:00Z --only failed`)
    .action(async (id: string, { since, only }: { since: string; only?: 'all' | 'failed' }, self: Command) => {
      const { docket, json } = openSession(self);
      const { replayed } = await docket.webhooks.replay(id, { since, ...(only === undefined ? {} : { only }) });
      if (json) await writeJson({ webhookId: id, replayed });
      else await write(`${countOf(replayed, 'event')} will be told again.\n`);
    });
}

const endpointColumns: Column<WebhookEndpoint>[] = [
  ['WEBHOOK', ({ webhookId }) => webhookId],
  ['STATE', stateOf],
  ['EVENTS', ({ events }) => events.join(', ')],
  ['URL', ({ url }) => url],
];

function stateOf({ enabled, disabledReason, failingSince }: WebhookEndpoint): string {
  if (!enabled) return disabledReason ?? 'disabled';
  return failingSince === null ? 'good' : `failing since ${failingSince}`;
}

const deliveryColumns: Column<WebhookDelivery>[] = [
  ['DELIVERY', ({ deliveryId }) => deliveryId],
  ['STATUS', ({ status }) => status],
  ['EVENT', ({ event }) => event],
  ['HAPPENED', ({ occurredAt }) => occurredAt],
  ['TRIES', ({ attempts }) => attempts.length],
  ['LAST', ({ attempts }) => attempts.at(-1)?.responseStatus ?? attempts.at(-1)?.error],
  ['NEXT', ({ nextAttemptAt }) => nextAttemptAt],
];

async function tell(endpoint: object, json: boolean): Promise<void> {
  if (json) return await writeJson(endpoint);
  const { events } = endpoint as { events?: string[] };
  await write(recordOf({ ...endpoint, ...(events === undefined ? {} : { events: events.join(', ') }) }));
}

async function tellDelivery(delivery: WebhookDelivery, json: boolean): Promise<void> {
  if (json) return await writeJson(delivery);
  await write(tableOf([delivery], deliveryColumns));
  writeError(`See what comes of it: docket webhooks deliveries ${delivery.webhookId}\n`);
}
