import { on } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { readConfig } from '../config.ts';
import type { WorkMetrics } from '../http/metrics.ts';
import { createLogger } from '../logger.ts';
import { startWork } from './work.ts';
import type { Order, Report } from './worker-thread.ts';

/* What runs in the worker thread: see worker-thread.ts. */

if (!parentPort) throw new Error('This program is started as a thread by the server.');
const port = parentPort;
const tell = (report: Report) => port.postMessage(report);
const metrics: WorkMetrics = {
  countItems: (...values) => tell({ kind: 'counted', name: 'countItems', values }),
  countRemoved: (...values) => tell({ kind: 'counted', name: 'countRemoved', values }),
  countWebhookAttempt: (...values) => tell({ kind: 'counted', name: 'countWebhookAttempt', values }),
};

const config = await readConfig(process.env, process.cwd());
const logger = await createLogger(config.logLevel, process.stdout.isTTY === true);
const { databaseUrl } = workerData as { databaseUrl: string };
let stop = async () => {};
for await (const [order] of on(port, 'message') as AsyncIterable<[Order]>) {
  if (order === 'stop') break;
  stop = await startWork({ config, databaseUrl, logger, metrics });
  tell({ kind: 'working' });
}
await stop();
// why: a part that could not end in time must not keep the thread; this ends no more than the thread
process.exit();
