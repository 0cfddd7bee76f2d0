import type { DecidedItems } from '@docket/engine';
import { Counter, collectDefaultMetrics, type Metric, type MetricValue, Registry } from 'prom-client';

/** What the process counts; read at GET /metrics. */
export interface Metrics {
  readonly registry: Registry;
  /** Adds to `docket_items_total`: items decided, by their fate. */
  countItems(items: DecidedItems): void;
  /** Adds to `docket_removed_total`: rows removed after their time, by kind. */
  countRemoved(kind: string, count: number): void;
  /** Adds to `docket_webhook_attempts_total`: attempts to deliver webhooks, by what they came to. */
  countWebhookAttempt(outcome: 'delivered' | 'retry' | 'give_up'): void;
  /** The durations of one method and route, by status; made once for each route. */
  requestTimer(method: string, route: string): (status: number, milliseconds: number) => void;
}

/** What work beside the requests counts; all of it can be sent from thread to thread. */
export type WorkMetrics = Omit<Metrics, 'registry' | 'requestTimer'>;

/** Metrics of one server. The process's own (memory, event loop) are added by `collectProcessMetrics`. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const items = new Counter({
    name: 'docket_items_total',
    help: 'Items decided, by collection and fate.',
    labelNames: ['collection', 'status'],
    registers: [registry],
  });
  const removed = new Counter({
    name: 'docket_removed_total',
    help: 'Rows removed because their time was over, by kind.',
    labelNames: ['kind'],
    registers: [registry],
  });
  const attempts = new Counter({
    name: 'docket_webhook_attempts_total',
    help: 'Attempts to deliver webhooks, by what they came to.',
    labelNames: ['outcome'],
    registers: [registry],
  });
  const durations = new RequestDurations();
  registry.registerMetric(durations as unknown as Metric);
  return {
    registry,
    countItems: ({ collection, succeeded, failed, notProcessed }) => {
      items.inc({ collection, status: 'succeeded' }, succeeded);
      items.inc({ collection, status: 'failed' }, failed);
      items.inc({ collection, status: 'not_processed' }, notProcessed);
    },
    countRemoved: (kind, count) => removed.inc({ kind }, count),
    countWebhookAttempt: (outcome) => attempts.inc({ outcome }),
    requestTimer: (method, route) => durations.timer(method, route),
  };
}

export function collectProcessMetrics(metrics: Metrics): void {
  collectDefaultMetrics({ register: metrics.registry });
}

const boundsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

interface Series {
  labels: { method: string; route: string; status: number };
  /** How many fell in each bucket, the last one being beyond all bounds. */
  counts: Float64Array;
  sumMs: number;
}

/**
 * A histogram with a fixed array for each route and status.
 * why: prom-client's own histogram builds and sorts a label string at each observation, which costs more than the rest of a
 * small request's bookkeeping together; this one adds a number to an array.
 */
class RequestDurations {
  readonly name = 'http_request_duration_seconds';
  readonly help = 'Time from the request to the end of its answer, by method, route and status.';
  readonly type = 'histogram';
  readonly #series: Series[] = [];

  timer(method: string, route: string): (status: number, milliseconds: number) => void {
    const byStatus = new Map<number, Series>();
    return (status, milliseconds) => {
      let series = byStatus.get(status);
      if (!series) {
        series = { labels: { method, route, status }, counts: new Float64Array(boundsMs.length + 1), sumMs: 0 };
        byStatus.set(status, series);
        this.#series.push(series);
      }
      let bucket = 0;
      while (bucket < boundsMs.length && milliseconds > (boundsMs[bucket] as number)) bucket++;
      series.counts[bucket] = (series.counts[bucket] as number) + 1;
      series.sumMs += milliseconds;
    };
  }

  async get() {
    const values: (MetricValue<string> & { metricName: string })[] = [];
    for (const { labels, counts, sumMs } of this.#series) {
      let total = 0;
      for (const [bucket, count] of counts.entries()) {
        total += count;
        const bound = boundsMs[bucket];
        const le = bound === undefined ? '+Inf' : bound / 1_000;
        values.push({ metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: total });
      }
      values.push({ metricName: `${this.name}_sum`, labels, value: sumMs / 1_000 });
      values.push({ metricName: `${this.name}_count`, labels, value: total });
    }
    return { name: this.name, help: this.help, type: this.type, aggregator: 'sum', values };
  }

  reset(): void {
    this.#series.length = 0;
  }
}
