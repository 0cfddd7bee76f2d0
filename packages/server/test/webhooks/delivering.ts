import type { Json } from '@docket/engine';
import { createMetrics, type Metrics } from '../../src/http/metrics.ts';
import { Deliverer, type DelivererOptions } from '../../src/webhooks/deliverer.ts';
import { SealedSecrets } from '../../src/webhooks/sealed-secrets.ts';
import { type Served, type ServeOptions, serve } from '../served.ts';
import { type Answer, type Receiver, startReceiver } from './receiver.ts';

export const anywhere = { allowPrivate: true, ports: [] };
const silent = { info: () => {}, warn: () => {} };

export interface Delivering extends Served {
  metrics: Metrics;
  /** Another process that delivers. */
  deliverer(options?: Partial<DelivererOptions>): Deliverer;
  receiver(answer?: Answer, options?: { tls?: boolean }): Promise<Receiver>;
  /** Adds an endpoint; gives back its id and secret. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  subscribe(url: string, events?: string[], more?: { [name: string]: Json }): Promise<any>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  deliveries(webhookId: string, query?: string): Promise<any[]>;
}

/** The server, with deliverers and receivers that end with it. Attempts follow each other at once unless `delays` says otherwise. */
export async function serveDelivering({
  delays = Array(9).fill(0),
  timeoutMs = 15_000,
  ...options
}: ServeOptions & Partial<DelivererOptions> = {}): Promise<Delivering> {
  const served = await serve({ webhookTargets: anywhere, ...options });
  const metrics = createMetrics();
  const stops: (() => Promise<void>)[] = [];
  const deliverer = (more: Partial<DelivererOptions> = {}) => {
    const one = new Deliverer({
      engine: served.engine,
      logger: silent,
      metrics,
      policy: anywhere,
      secrets: options.webhookSecrets ?? new SealedSecrets(),
      timeoutMs,
      delays,
      ...more,
    });
    one.start();
    stops.push(() => one.stop());
    return one;
  };
  return {
    ...served,
    metrics,
    deliverer,
    receiver: async (answer, how) => {
      const receiver = await startReceiver(answer, how);
      stops.push(receiver.stop);
      return receiver;
    },
    subscribe: async (url, events = ['cases.updated'], more = {}) => {
      const { status, body } = await served.call('POST', '/api/v1/webhooks', { url, events, ...more });
      if (status !== 201) throw new Error(JSON.stringify(body));
      return body;
    },
    deliveries: async (webhookId, query = '') =>
      (await served.call('GET', `/api/v1/webhooks/${webhookId}/deliveries${query}`)).body.items,
    stop: async () => {
      // why receivers too before the server: a deliverer waits for its attempts
      await Promise.all(stops.map((stop) => stop()));
      await served.stop();
    },
  };
}
