import { styleText } from 'node:util';
import { Docket } from '@docket/client';
import { complain } from './complaint.ts';
import { count, milliseconds, quantile } from './figures.ts';
import { replayLog } from './replay-log.ts';
import { startThrowAwayServer } from './throw-away-server.ts';

const heading = (text: string) => process.stdout.write(`\n${styleText('bold', text)}\n`);
const line = (name: string, value: string) => process.stdout.write(`  ${name.padEnd(28)}${value}\n`);
const zero = (value: number, of: number) => styleText(value === 0 ? 'green' : 'red', `${count(value)} of ${count(of)}`);

/** Replays the incident log against a throw-away server, and prints what it saw. Whether all was as it should be. */
export async function runDemo(): Promise<boolean> {
  heading('Docket demo: a throw-away server with 890 real incidents');
  const server = await startThrowAwayServer();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void server.stop().finally(() => process.exit(130)));
  }
  try {
    const docket = new Docket({ baseUrl: server.url, apiKey: server.apiKey });
    const batchSize = 100;

    heading(`1. The whole incident log, in time order, in batches of ${batchSize}`);
    const replay = await replayLog(docket, batchSize);
    line('items', `${count(replay.items)} in ${replay.batches} bulk updates`);
    line('items per second', count(replay.items / replay.seconds));
    line('failures', zero(replay.failures, replay.items));
    line('already as asked', `${count(replay.unchanged)} (no version, no change recorded)`);
    line(
      'answer of a batch',
      `p50 ${milliseconds(quantile(replay.batchMs, 0.5))}, p99 ${milliseconds(quantile(replay.batchMs, 0.99))}`,
    );
    line('stale reads right after', zero(replay.staleReads, replay.reads));
    line('cases closed at the end', `${count(replay.closed)} of ${count(replay.cases)}`);
    line('changes recorded', count(replay.changes));
    line('unlike the log', zero(replay.wrong.length, replay.cases));

    const rounds = 50;
    heading(`2. The classic complaint: 100 cases, In Progress -> Under Review and back, ${rounds} times`);
    const complaint = await complain(docket, rounds, 100);
    line('failures', zero(complaint.failures, complaint.rounds * complaint.cases));
    line(
      'answer of a batch',
      `p50 ${milliseconds(quantile(complaint.batchMs, 0.5))}, p99 ${milliseconds(quantile(complaint.batchMs, 0.99))}`,
    );
    line(
      'read of a case',
      `p50 ${milliseconds(quantile(complaint.readMs, 0.5))}, p99 ${milliseconds(quantile(complaint.readMs, 0.99))} (100 at once)`,
    );
    line('stale reads right after', zero(complaint.staleReads, complaint.reads));

    const sound =
      replay.failures + replay.staleReads + replay.wrong.length + complaint.failures + complaint.staleReads === 0 &&
      replay.closed === replay.cases;
    process.stdout.write(
      `\n${sound ? styleText('green', 'Every answer was true.') : styleText('red', 'Something was not as it should be.')}\n`,
    );
    return sound;
  } finally {
    await server.stop();
  }
}
