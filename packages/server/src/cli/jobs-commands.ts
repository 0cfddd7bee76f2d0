import type { Job, JobStatus } from '@docket/client';
import type { Command } from 'commander';
import { finish, summaryOf } from './job-end.ts';
import { tellList } from './lists.ts';
import { type Column, count, recordOf, write, writeJson } from './output.ts';
import { confirm } from './preview.ts';
import { durationOf } from './progress.ts';
import { openSession, wholeNumber } from './session.ts';

const statuses: JobStatus[] = ['pending', 'running', 'paused', 'completed', 'cancelled', 'failed'];

/** `docket jobs ..` */
export function addJobCommands(program: Command): void {
  const group = program.command('jobs').description('what was sent: look, follow, stop, repeat, undo');
  addReads(group);
  addStops(group);
  addFollowUps(group);
}

function addReads(group: Command): void {
  const list = group.command('list').description('your jobs, newest first');
  list
    .addOption(list.createOption('--status <status>', 'only these').choices(statuses))
    .option('--collection <name>', 'only those of a collection')
    .option('--label <name>', 'only those with this name')
    .option('--limit <count>', 'rows at most; 0 for all', wholeNumber(0), 20)
    .addHelpText('after', '\nExamples:\n  docket jobs list --status running\n  docket jobs list --label monday --json')
    .action(
      async (
        { limit, ...filters }: { status?: JobStatus; collection?: string; label?: string; limit: number },
        self: Command,
      ) => {
        const { docket, json } = openSession(self);
        await tellList(docket.jobs.list(filters), { json, limit, columns: jobColumns });
      },
    );

  group
    .command('show')
    .description('a job as it is now')
    .argument('<job>')
    .addHelpText('after', '\nExamples:\n  docket jobs show job_0199c1d27c1e7b6a9f652f6f0c1f3a10')
    .action(async (jobId: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await tellJob(await docket.jobs.get(jobId), json);
    });

  group
    .command('watch')
    .summary('follow a job to its end')
    .description(
      'Follows a job to its end with a progress bar; a line every few seconds where there is no terminal. Exits with 2 when some ' +
        'items were not applied.',
    )
    .argument('<job>')
    .addHelpText('after', '\nExamples:\n  docket jobs watch job_0199c1d27c1e7b6a9f652f6f0c1f3a10 && echo all of it')
    .action(async (jobId: string, _options: object, self: Command) => {
      const session = openSession(self);
      const handle = session.docket.jobs.follow(jobId);
      const { operation } = await handle.get();
      await finish(session, handle, { what: operation });
    });
}

function addStops(group: Command): void {
  const stops = {
    cancel: 'stop it: what is applied stays, the rest is not processed',
    pause: 'let it wait, until it is resumed',
    resume: 'let a paused one go on',
  } as const;
  for (const [name, description] of Object.entries(stops) as [keyof typeof stops, string][]) {
    group
      .command(name)
      .description(description)
      .argument('<job>')
      .addHelpText('after', `\nExamples:\n  docket jobs ${name} job_0199c1d27c1e7b6a9f652f6f0c1f3a10`)
      .action(async (jobId: string, _options: object, self: Command) => {
        const { docket, json } = openSession(self);
        await tellJob(await docket.jobs[name](jobId), json);
      });
  }
  group
    .command('delete')
    .description('remove an ended one and its results; what it changed stays')
    .argument('<job>')
    .addHelpText('after', '\nExamples:\n  docket jobs delete job_0199c1d27c1e7b6a9f652f6f0c1f3a10')
    .action(async (jobId: string, _options: object, self: Command) => {
      const { docket, json } = openSession(self);
      await docket.jobs.delete(jobId);
      if (json) await writeJson({ jobId, deleted: true });
      else await write(`${jobId} is removed.\n`);
    });
}

function addFollowUps(group: Command): void {
  const retry = group.command('retry').description('try the items again that did not succeed, as a new job');
  retry
    .argument('<job>')
    .addOption(
      retry
        .createOption('--only <which>', 'retryable: those that may succeed as they are')
        .choices(['failed', 'retryable']),
    )
    .option('--detach', 'do not wait for the end')
    .addHelpText('after', '\nExamples:\n  docket jobs retry job_0199c1d27c1e7b6a9f652f6f0c1f3a10 --only retryable')
    .action(
      async (jobId: string, { only, detach }: { only?: 'failed' | 'retryable'; detach?: boolean }, self: Command) => {
        const session = openSession(self);
        const handle = await session.docket.jobs.retry(jobId, only === undefined ? {} : { only });
        await finish(session, handle, { what: 'retrying', detach });
      },
    );

  group
    .command('revert')
    .summary('undo it, as a new job')
    .description(
      'Gives the records back what they were before the job, as a new job; those that were changed since are left alone.',
    )
    .argument('<job>')
    .option('-y, --yes', 'do not ask')
    .option('--detach', 'do not wait for the end')
    .addHelpText('after', '\nExamples:\n  docket jobs revert job_0199c1d27c1e7b6a9f652f6f0c1f3a10')
    .action(async (jobId: string, { yes, detach }: { yes?: boolean; detach?: boolean }, self: Command) => {
      const session = openSession(self);
      if (!yes) await confirm((await session.docket.jobs.get(jobId)).summary.succeeded);
      await finish(session, await session.docket.jobs.revert(jobId), { what: 'reverting', detach });
    });

  group
    .command('apply')
    .description('apply a preview (--dry-run), exactly as it was shown, as a new job')
    .argument('<job>')
    .option('--detach', 'do not wait for the end')
    .addHelpText('after', '\nExamples:\n  docket jobs apply job_0199c1d27c1e7b6a9f652f6f0c1f3a10')
    .action(async (jobId: string, { detach }: { detach?: boolean }, self: Command) => {
      const session = openSession(self);
      await finish(session, await session.docket.jobs.apply(jobId), { what: 'applying', detach });
    });
}

const jobColumns: Column<Job>[] = [
  ['JOB', ({ jobId }) => jobId],
  ['STATUS', ({ status }) => status],
  ['OPERATION', ({ operation, collection, dryRun }) => `${operation} ${collection}${dryRun ? ' (preview)' : ''}`],
  ['DONE', ({ progress }) => `${count(progress.processed)}/${count(progress.total)}`],
  ['FAILED', ({ summary }) => count(summary.failed)],
  ['LABEL', ({ label }) => label],
  ['CREATED', ({ createdAt }) => createdAt],
];

async function tellJob(job: Job, json: boolean): Promise<void> {
  if (json) return await writeJson(job);
  const { jobId, status, operation, collection, dryRun, summary, progress, label, error } = job;
  const { etaSeconds, itemsPerSecond, processed, total } = progress;
  const failure = error as { message?: string } | undefined;
  await write(
    recordOf({
      job: jobId,
      status: job.cancelRequested && job.outcome === null ? `${status}, being cancelled` : status,
      ...(failure?.message === undefined ? {} : { error: failure.message }),
      operation: `${operation} ${collection}${dryRun ? ' (preview)' : ''}`,
      items: summaryOf(summary),
      ...(job.outcome === null ? { done: `${count(processed)} of ${count(total)}` } : {}),
      ...(itemsPerSecond === null || job.outcome !== null ? {} : { rate: `${count(Math.round(itemsPerSecond))}/s` }),
      ...(etaSeconds === null || job.outcome !== null ? {} : { ETA: durationOf(etaSeconds) }),
      ...(label === null ? {} : { label }),
      ...(job.parentJobId === null ? {} : { 'made from': job.parentJobId }),
      created: job.createdAt,
      started: job.startedAt,
      completed: job.completedAt,
      'kept until': job.expiresAt,
      'can be asked': Object.keys(job.links)
        .filter((name) => actions.has(name))
        .join(', '),
    }),
  );
}

const actions = new Set(['cancel', 'pause', 'resume', 'apply', 'retry', 'revert']);
