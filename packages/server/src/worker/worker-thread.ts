import { extname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { FastifyBaseLogger } from 'fastify';
import type { WorkMetrics } from '../http/metrics.ts';

/** What the thread is told: to begin once the tables are there, and to end. */
export type Order = 'begin' | 'stop';
/** What the thread tells: that it works, or something that it counted. */
export type Report = { kind: 'working' } | Counted;
export type Counted = {
  [Name in keyof WorkMetrics]: { kind: 'counted'; name: Name; values: Parameters<WorkMetrics[Name]> };
}[keyof WorkMetrics];

export interface WorkerThreadOptions {
  databaseUrl: string;
  logger: Pick<FastifyBaseLogger, 'error'>;
  metrics: WorkMetrics;
}

/**
 * why: what a chunk leaves behind dies within it, so a larger young generation than this (the default is three times as large) only
 * takes memory; measured, it makes nothing faster.
 */
const resourceLimits = { maxYoungGenerationSizeMb: 48 };

interface Loaded {
  thread: Worker;
  /** Resolves when the thread has ended or is about to, to the reason. */
  ended: Promise<Error>;
}

const startAgainMs = 1_000;
const stopMs = 15_000;
// why: the same program is run as TypeScript in a checkout, and as JavaScript where it was built
const program = new URL(`./thread-main${extname(import.meta.filename)}`, import.meta.url);

/**
 * The work of this process in a thread of its own, so that requests never wait for a chunk that is decided or for its garbage. A
 * thread that ends by itself is started again; what it was at is pending again, as after any death of a worker.
 */
export class WorkerThread {
  readonly #options: WorkerThreadOptions;
  #loaded: Loaded;
  #stopping = false;

  /** Loads the program; it does nothing until `begin`. */
  constructor(options: WorkerThreadOptions) {
    this.#options = options;
    this.#loaded = this.#load();
  }

  /** Resolves when the work has begun. Rejects with what keeps it from that. */
  async begin(): Promise<void> {
    const { thread, ended } = this.#loaded;
    thread.postMessage('begin' satisfies Order);
    const working = new Promise<void>((resolve) => {
      thread.on('message', (report: Report) => report.kind === 'working' && resolve());
    });
    await Promise.race([working, ended.then((reason) => Promise.reject(reason))]);
    void ended.then((reason) => this.#startAgain(reason));
  }

  /** Finishes what is at hand. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const { thread, ended } = this.#loaded;
    thread.postMessage('stop' satisfies Order);
    const late = setTimeout(() => void thread.terminate(), stopMs);
    await ended;
    clearTimeout(late);
  }

  #load(): Loaded {
    const { databaseUrl, metrics } = this.#options;
    const thread = new Worker(program, { name: 'docket-worker', workerData: { databaseUrl }, resourceLimits });
    thread.on('message', (report: Report) => {
      if (report.kind === 'counted') count(metrics, report);
    });
    const ended = new Promise<Error>((resolve) => {
      thread.once('error', resolve);
      thread.once('exit', (code) => resolve(new Error(`The worker thread ended with code ${code}.`)));
    });
    return { thread, ended };
  }

  async #startAgain(reason: Error): Promise<void> {
    for (let failure = reason; !this.#stopping; ) {
      this.#options.logger.error({ err: failure }, 'the worker thread ended; it is started again');
      await delay(startAgainMs);
      if (this.#stopping) return;
      this.#loaded = this.#load();
      try {
        return await this.begin();
      } catch (error) {
        failure = error as Error;
      }
    }
  }
}

function count(metrics: WorkMetrics, { name, values }: Counted): void {
  (metrics[name] as (...values: unknown[]) => void)(...values);
}
