import type { CallOptions } from './batch.ts';
import type { ApiRequest, Http } from './http.ts';

/** Who is told of what happens. */
export interface WebhookEndpoint {
  webhookId: string;
  /** Null of `callbacks`, which stands for the callbacks of single jobs. */
  url: string | null;
  /** `job.completed`, `job.failed`, `job.cancelled`, `cases.updated`, or what else the server knows. */
  events: string[];
  /** `standard`: as `verifyWebhook` reads it; `cloudevents`: CloudEvents 1.0. */
  envelope: 'standard' | 'cloudevents';
  enabled: boolean;
  /** Why the server turned it off. */
  disabledReason: string | null;
  /** Since when every attempt has failed. */
  failingSince: string | null;
  createdAt: string;
  updatedAt: string;
}

/** An endpoint that was just made. */
export interface CreatedWebhook extends WebhookEndpoint {
  /** With what its webhooks are signed; the server shows it only now. */
  secret: string;
}

export interface RotatedSecret {
  webhookId: string;
  /** The new one; the server shows it only now. */
  secret: string;
  /** Until then webhooks are signed with the old one too. */
  oldSecretUntil: string;
}

export interface NewWebhookEndpoint {
  url: string;
  events: string[];
  enabled?: boolean;
  envelope?: 'standard' | 'cloudevents';
}

/** One event that is, or was, to be told to an endpoint. */
export interface WebhookDelivery {
  /** The `webhook-id` of each attempt. */
  deliveryId: string;
  webhookId: string;
  event: string;
  /** `failed`: given up. */
  status: 'pending' | 'delivered' | 'failed';
  occurredAt: string;
  nextAttemptAt: string | null;
  /** What is sent. */
  request: { method: string; url: string; contentType: string; body: string };
  /** The latest attempts, oldest first. */
  attempts: WebhookAttempt[];
}

export interface WebhookAttempt {
  at: string;
  durationMs: number;
  url: string;
  /** Null where there was no answer. */
  responseStatus: number | null;
  /** Its beginning. */
  responseBody: string | null;
  /** Null when it was received. */
  error: string | null;
}

export interface DeliveryFilters {
  status?: WebhookDelivery['status'];
  event?: string;
}

/** Where webhooks go. `verifyWebhook` checks them where they arrive. */
export class Webhooks {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  /** The endpoint and, this once, its secret. Not sent again when its answer is lost: look into `list`. */
  async create(endpoint: NewWebhookEndpoint, { signal }: CallOptions = {}): Promise<CreatedWebhook> {
    const json = JSON.stringify(endpoint);
    return (await this.#http.send<CreatedWebhook>({ method: 'POST', path: '/webhooks', json, signal })).body;
  }

  /** Newest first. */
  list({ signal }: CallOptions = {}): AsyncGenerator<WebhookEndpoint, void, undefined> {
    return this.#http.pages('/webhooks', {}, signal);
  }

  async get(id: string, { signal }: CallOptions = {}): Promise<WebhookEndpoint> {
    return await this.#http.get(pathOf(id), {}, signal);
  }

  async update(
    id: string,
    changes: Partial<NewWebhookEndpoint>,
    { signal }: CallOptions = {},
  ): Promise<WebhookEndpoint> {
    const request = { method: 'PATCH', path: pathOf(id), json: JSON.stringify(changes), signal } as const;
    return (await this.#http.send<WebhookEndpoint>({ ...request, repeatable: true })).body;
  }

  /** Removes an endpoint and its deliveries. */
  async delete(id: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#http.send({ method: 'DELETE', path: pathOf(id), signal });
  }

  /** A new secret, shown this once; the old one signs too for 24 hours. */
  async rotate(id: string, { signal }: CallOptions = {}): Promise<RotatedSecret> {
    return await this.#ask(`${pathOf(id)}/rotate`, { signal });
  }

  /** Sends a test event. */
  async test(id: string, { signal }: CallOptions = {}): Promise<WebhookDelivery> {
    return await this.#ask(`${pathOf(id)}/test`, { signal });
  }

  /** What was, and is to be, told to an endpoint; newest first. */
  deliveries(
    id: string,
    filters: DeliveryFilters = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<WebhookDelivery, void, undefined> {
    return this.#http.pages(`${pathOf(id)}/deliveries`, { ...filters }, signal);
  }

  /** Tells an event again, whatever became of it. */
  async resend(id: string, deliveryId: string, { signal }: CallOptions = {}): Promise<WebhookDelivery> {
    const path = `${pathOf(id)}/deliveries/${encodeURIComponent(deliveryId)}/resend`;
    return await this.#ask(path, { signal, repeatable: true });
  }

  /** Tells again what happened since then and does not wait to be told, or of that only what was given up. How much that is. */
  async replay(
    id: string,
    { since, only, signal }: { since: string; only?: 'all' | 'failed' } & CallOptions,
  ): Promise<{ replayed: number }> {
    return await this.#ask(`${pathOf(id)}/replay`, { signal, json: JSON.stringify({ since, only }), repeatable: true });
  }

  async #ask<Body>(path: string, request: Pick<ApiRequest, 'json' | 'repeatable' | 'signal'>): Promise<Body> {
    return (await this.#http.send<Body>({ method: 'POST', path, ...request })).body;
  }
}

function pathOf(id: string): string {
  return `/webhooks/${encodeURIComponent(id)}`;
}
