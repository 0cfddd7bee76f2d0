import type { CallOptions } from './batch.ts';
import { Cases, Collection } from './collection.ts';
import { type DocketOptions, Http } from './http.ts';
import { Jobs } from './jobs.ts';
import type { CaseType, CaseTypeDefinition, Limits, Order, OrderShape, Shape, ShapeOf, Usage } from './records.ts';
import { Webhooks } from './webhook-endpoints.ts';

/**
 * A Docket server. Every call rejects with DocketError when the server refuses it (`code` says why), when no answer comes
 * (NetworkError, TimeoutError), and with the reason of an aborted signal.
 */
export class Docket {
  readonly cases: Cases;
  readonly orders: Collection<Order, OrderShape>;
  readonly jobs: Jobs;
  readonly caseTypes: CaseTypes;
  readonly webhooks: Webhooks;
  readonly #http: Http;

  /** Throws TypeError where `baseUrl` or `apiKey` is missing, also in the environment. */
  constructor(options: DocketOptions = {}) {
    this.#http = new Http(options);
    this.jobs = new Jobs(this.#http);
    this.cases = new Cases(this.#http, this.jobs, 'cases');
    this.orders = this.collection<Order, OrderShape>('orders');
    this.caseTypes = new CaseTypes(this.#http);
    this.webhooks = new Webhooks(this.#http);
  }

  /** A collection of the server by the path it has there; `Row` is what a record looks like. */
  collection<Row extends object, S extends Shape = ShapeOf<Row>>(path: string): Collection<Row, S> {
    return new Collection<Row, S>(this.#http, this.jobs, path);
  }

  /** The limits in force on the server. */
  async limits({ signal }: CallOptions = {}): Promise<Limits> {
    return await this.#http.get('/limits', {}, signal);
  }

  /**
   * What the tenant has sent in a month (`2026-11`, UTC; default the current one), by day, and what it cost in credits. Rejects with
   * `invalid_parameter` for a month that has not begun or is not kept any more.
   */
  async usage(month?: string, { signal }: CallOptions = {}): Promise<Usage> {
    return await this.#http.get('/usage', month === undefined ? {} : { month }, signal);
  }
}

/** Lifecycles: the statuses of a kind of case and the moves between them. */
export class CaseTypes {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  list({ signal }: CallOptions = {}): AsyncGenerator<CaseType, void, undefined> {
    return this.#http.pages('/case-types', {}, signal);
  }

  async get(name: string, { signal }: CallOptions = {}): Promise<CaseType> {
    return await this.#http.get(`/case-types/${encodeURIComponent(name)}`, {}, signal);
  }

  /** Adds or replaces a case type. Rejects with `constraint_violation` when it would take a status from cases that have it. */
  async put(name: string, definition: CaseTypeDefinition, { signal }: CallOptions = {}): Promise<CaseType> {
    const path = `/case-types/${encodeURIComponent(name)}`;
    return (await this.#http.send<CaseType>({ method: 'PUT', path, json: JSON.stringify(definition), signal })).body;
  }
}
