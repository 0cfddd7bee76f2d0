import type { JobState } from '@docket/client';
import { SingleBar } from 'cli-progress';
import { count, paint, writeError } from './output.ts';

/** How far something has come. */
export interface Step {
  what: string;
  done: number;
  /** Null where nobody knows. */
  total: number | null;
  /** Of what is counted, where it is not items. */
  unit?: string;
  /** Things a second, and seconds to go. */
  rate?: number | null;
  eta?: number | null;
  failed?: number;
}

export interface Progress {
  show(step: Step): void;
  /** Makes room for a question. */
  pause(): void;
  resume(): void;
  stop(): void;
}

/** Between two lines, where there is no terminal. */
const plainEveryMs = 5_000;
const barWidth = { least: 10, most: 40 };

/** A bar that follows what is shown on a terminal, else a line now and then. Both on standard error. */
export function createProgress(): Progress {
  return process.stderr.isTTY ? new Bar() : new PlainLines(writeError, () => performance.now());
}

export function stepOf(what: string, { status, progress, summary }: JobState): Step {
  return {
    what: status === 'running' || status === 'completed' ? what : `${what} (${status})`,
    done: progress.processed,
    total: progress.total,
    rate: progress.itemsPerSecond,
    eta: progress.etaSeconds,
    failed: summary.failed,
  };
}

class Bar implements Progress {
  readonly #bar = new SingleBar({
    stream: process.stderr,
    format: (_options, { progress }, { step }: { step: Step }) => barOf(step, progress, process.stderr.columns || 80),
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
    emptyOnZero: true,
  });
  #step: Step | undefined;
  #paused = false;

  show(step: Step): void {
    const begun = this.#step !== undefined;
    this.#step = step;
    if (this.#paused) return;
    if (!begun) this.#start(step);
    this.#bar.setTotal(step.total ?? 0);
    this.#bar.update(step.done, { step });
  }

  pause(): void {
    this.#paused = true;
    this.#bar.stop();
  }

  resume(): void {
    this.#paused = false;
    if (this.#step) this.#start(this.#step);
  }

  stop(): void {
    this.#paused = true;
    this.#bar.stop();
  }

  #start(step: Step): void {
    this.#bar.start(step.total ?? 0, step.done, { step });
  }
}

/** `applying [#####-----]  50%  5,000/10,000  2,500/s  ETA 2 s  3 failed`, as wide as there is room. */
export function barOf(step: Step, progress: number, columns: number): string {
  const share = Math.min(Math.max(progress, 0), 1);
  const figures = figuresOf(step);
  const tail = step.total === null ? figures : `${`${Math.floor(share * 100)}%`.padStart(4)}  ${figures}`;
  const room = columns - step.what.length - tail.length - 5;
  if (step.total === null || room < barWidth.least) return `${step.what} ${tail}`;
  const width = Math.min(room, barWidth.most);
  const filled = Math.floor(share * width);
  const bar = paint('green', '#'.repeat(filled), 'stderr') + '-'.repeat(width - filled);
  return `${step.what} [${bar}] ${tail}`;
}

function figuresOf({ done, total, unit, rate, eta, failed }: Step): string {
  return [
    (total === null ? count(done) : `${count(done)}/${count(total)}`) + (unit === undefined ? '' : ` ${unit}`),
    ...(typeof rate === 'number' ? [`${count(Math.round(rate))}/s`] : []),
    ...(typeof eta === 'number' ? [`ETA ${durationOf(eta)}`] : []),
    ...(failed ? [`${count(failed)} failed`] : []),
  ].join('  ');
}

/** `5 s`, `2 min 05 s`, `1 h 02 min`. */
export function durationOf(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3_600)} h ${two(Math.floor((whole % 3_600) / 60))} min`;
}

export class PlainLines implements Progress {
  readonly #print: (text: string) => void;
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;

  constructor(print: (text: string) => void, now: () => number) {
    this.#print = print;
    this.#now = now;
  }

  show(step: Step): void {
    if (this.#now() - this.#last < plainEveryMs) return;
    this.#last = this.#now();
    this.#print(`${step.what} ${figuresOf(step)}\n`);
  }

  pause(): void {}
  resume(): void {}
  stop(): void {}
}
