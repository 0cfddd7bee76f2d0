import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import type { ItemFile, JobHandle } from '@docket/client';
import type { Command } from 'commander';
import { CommandError, Left } from './failure.ts';
import { readColumnMap, renameColumns } from './header-map.ts';
import { carryOut } from './preview.ts';
import { createProgress, type Progress } from './progress.ts';
import { openSession, several, wholeNumber } from './session.ts';
import { addChangeOptions } from './update-command.ts';

interface Options {
  collection: string;
  map?: string[];
  create?: boolean;
  format?: 'csv' | 'ndjson';
  maxErrors?: number;
  gzip?: boolean;
  idempotencyKey?: string;
  dryRun?: boolean;
  yes?: boolean;
  label?: string;
  priority?: 'low' | 'normal' | 'high';
  detach?: boolean;
}

export function addImportCommand(program: Command): void {
  const command = program
    .command('import')
    .summary('change or create a record for each row of a file')
    .description(
      'Sends a CSV or NDJSON file of up to 5,000,000 items as it is read, shows what would become of it, asks, and applies exactly ' +
        'that. Exits with 2 when some rows failed.',
    )
    .argument('<file>', 'the file; - for standard input')
    .option('--collection <name>', 'where the records are', 'cases')
    .option('--create', 'make new records; otherwise rows change those that are there')
    .option('--map <column=field>', 'the field that a column of a CSV file stands for', several);
  command
    .addOption(
      command.createOption('--format <format>', 'of the file; otherwise its name says it').choices(['csv', 'ndjson']),
    )
    .option('--max-errors <count>', 'with --yes or --dry-run: stop after so many failures', wholeNumber(1))
    .option('--gzip', 'compress it on the way: for slow networks')
    .option('--idempotency-key <key>', 'with --yes: the same key and file again are the same job, for 24 hours');
  addChangeOptions(command)
    .addHelpText(
      'after',
      `
The header of a CSV file names the id and fields (caseId, status, data.site); an empty cell leaves its field alone, \\N removes its
value. Rows that fail are told with their line and do not keep others from being applied.

Examples:
  docket import cases.csv
  docket import new.csv --create --map "Case Number"=caseId --map Summary=title
  zcat orders.ndjson.gz | docket import - --format ndjson --collection orders --yes`,
    )
    .action(async (file: string, options: Options, self: Command) => {
      const names = readColumnMap(options.map ?? []);
      const type = typeOf(file, options.format);
      if (names.size > 0 && type !== 'text/csv')
        throw new CommandError('--map renames columns of CSV; NDJSON has none.');
      if (options.idempotencyKey !== undefined && !options.yes) {
        throw new CommandError('--idempotency-key is for --yes: a preview is made anew each time.');
      }
      if (options.maxErrors !== undefined && !options.yes && !options.dryRun) {
        throw new CommandError(
          '--max-errors is for --yes or --dry-run: what is applied is what the preview has shown.',
        );
      }
      const session = openSession(self);
      const { collection, create, label, priority, maxErrors, gzip = false, idempotencyKey } = options;
      await carryOut(session, {
        ...options,
        send: ({ dryRun }) =>
          upload(file, type, names, (content, signal) => {
            const records = session.docket.collection(collection);
            const settings = {
              dryRun,
              gzip,
              signal,
              ...(label === undefined ? {} : { label }),
              ...(priority === undefined ? {} : { priority }),
              ...(maxErrors === undefined ? {} : { maxErrors }),
              ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
            };
            return create ? records.bulkCreate(content, settings) : records.bulkUpdate(content, settings);
          }),
      });
    });
}

function typeOf(file: string, format: Options['format']): ItemFile['type'] {
  const name = format ?? extname(file).slice(1).toLowerCase();
  if (name === 'csv') return 'text/csv';
  if (name === 'ndjson' || name === 'jsonl') return 'application/x-ndjson';
  throw new CommandError(`Say what ${file === '-' ? 'standard input' : file} holds: --format csv or --format ndjson.`);
}

/** Sends a file as it is read, and shows how far. Ctrl-C gives it up: nothing is applied unless all of it was sent. */
async function upload(
  file: string,
  type: ItemFile['type'],
  names: ReadonlyMap<string, string>,
  send: (content: ItemFile, signal: AbortSignal) => Promise<JobHandle>,
): Promise<JobHandle> {
  const size = file === '-' ? null : await sizeOf(file);
  const leaving = new AbortController();
  let sent = false;
  const leave = () =>
    leaving.abort(
      new Left(
        sent
          ? 'The file was sent, and may have become a job. Look for it: docket jobs list'
          : 'The file was not sent to its end. Nothing was applied.',
      ),
    );
  const progress = createProgress();
  const open = () => {
    sent = false;
    const source = file === '-' ? process.stdin : createReadStream(file);
    const bytes = counted(source, size, progress);
    return whole(names.size > 0 ? renameColumns(bytes, names) : bytes);
  };
  async function* whole(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    yield* bytes;
    sent = true;
  }
  process.on('SIGINT', leave);
  try {
    // why: standard input can be read once only
    return await send({ type, content: file === '-' ? open() : open }, leaving.signal);
  } catch (error) {
    // why: as long as somebody may write to it, it keeps the process alive
    if (file === '-') process.stdin.destroy();
    throw error;
  } finally {
    process.off('SIGINT', leave);
    progress.stop();
  }
}

async function sizeOf(file: string): Promise<number> {
  const found = await stat(file).catch((error: Error) => {
    throw new CommandError(`${file} cannot be read: ${error.message}`);
  });
  if (found.isDirectory()) throw new CommandError(`${file} is a directory. Name a file.`);
  return found.size;
}

const mebibyte = 1024 * 1024;

async function* counted(
  source: AsyncIterable<Buffer>,
  size: number | null,
  progress: Progress,
): AsyncGenerator<Buffer> {
  const began = performance.now();
  let read = 0;
  for await (const piece of source) {
    yield piece;
    read += piece.length;
    const seconds = (performance.now() - began) / 1_000;
    progress.show({
      what: 'sending',
      unit: 'KiB',
      done: Math.round(read / 1024),
      total: size === null ? null : Math.ceil(size / 1024),
      eta: size === null || read < mebibyte ? null : ((size - read) / read) * seconds,
    });
  }
}
