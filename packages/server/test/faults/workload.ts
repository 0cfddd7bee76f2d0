import { setTimeout as delay } from 'node:timers/promises';
import type { Json } from '@docket/engine';
import type { Answer } from '../call.ts';
import type { Cluster, Tenant } from './cluster.ts';
import type { Random } from './random.ts';

export interface Item {
  id: string;
  fields: { title: string; data: { [operation: string]: number } };
  idempotencyKey?: string;
}

type Kind = 'batch' | 'job' | 'ordered' | 'upload' | 'item keys' | 'one';

/** One thing that a client wants done, and what it was told of it. Its name is the label of its job, and its key. */
export interface Operation {
  name: string;
  kind: Kind;
  tenant: Tenant;
  items: Item[];
  /** `unknown`: the answer was lost or "later", and the request is not repeated. */
  told: 'nothing yet' | 'unknown' | 'done';
  jobId?: string;
  /** The items that were told to have succeeded. */
  succeeded: Set<number>;
  reverted?: boolean;
}

const bulkUpdate = '/api/v1/cases/bulk-update';
const attemptMs = 15_000;
const insistMs = 60_000;
/** Answers that are as good as lost, though nothing broke: what they tell is done, and is asked for again. */
const lostAnswers = 0.1;

/** Clients that write the same cases of several tenants in every way there is, each request until it is answered. */
export class Workload {
  readonly operations: Operation[] = [];
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #ids: readonly string[];
  readonly #clients: Promise<unknown>[] = [];
  #stopped = false;
  #failure: unknown;
  #writeSince: { sentAfter: number; resolve: (at: number) => void; reject: (error: unknown) => void } | undefined;
  #abandoned = false;
  /** Refusals that said "later". */
  refusals = 0;
  /** The request that took longest to be done, for when it took too long. */
  slowest = { ms: 0, what: 'nothing' };

  constructor(cluster: Cluster, random: Random, ids: readonly string[]) {
    this.#cluster = cluster;
    this.#random = random;
    this.#ids = ids;
  }

  start(): void {
    const kinds: (() => Promise<void>)[] = [];
    for (const tenant of this.#cluster.tenants) {
      kinds.push(
        () => this.#applyJob(tenant, this.#make(tenant, 'job', this.#random.integer(1_500, this.#ids.length))),
        () => this.#applyJob(tenant, this.#makeOrdered(tenant)),
        () => this.#upload(tenant),
        () => this.#applyBatch(tenant),
        () => this.#applyWithItemKeys(tenant),
        () => this.#writeOne(tenant),
      );
    }
    for (const work of kinds) {
      this.#run(async () => {
        while (!this.#stopped) await work();
      });
    }
  }

  #run(client: () => Promise<void>): Promise<void> {
    const ended = client().catch((error) => {
      this.#failure ??= error;
      this.#stopped = true;
      this.#writeSince?.reject(error);
    });
    this.#clients.push(ended);
    return ended;
  }

  /** Lets each client end what it is doing. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    this.throwFailure();
  }

  /** Leaves the clients to themselves: they send nothing more. */
  abandon(): void {
    this.#stopped = true;
    this.#abandoned = true;
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** When the first write is acknowledged that is sent from now on. */
  firstWrite(): Promise<number> {
    this.throwFailure();
    return new Promise((resolve, reject) => {
      this.#writeSince = { sentAfter: performance.now(), resolve, reject };
    });
  }

  /** One job beside the clients, until it has ended. Without ids, over all cases. What goes wrong is told by `stop`. */
  runJob(tenant: Tenant, ids: readonly string[] = this.#ids): Promise<void> {
    return this.#run(() => this.#applyJob(tenant, this.#makeOf(tenant, 'job', ids), false));
  }

  #make(tenant: Tenant, kind: Kind, count: number): Operation {
    return this.#makeOf(tenant, kind, this.#random.sample(this.#ids, count));
  }

  #makeOrdered(tenant: Tenant): Operation {
    const ids = this.#random.sample(this.#ids, 10);
    return this.#makeOf(
      tenant,
      'ordered',
      Array.from({ length: 1_500 }, (_, n) => ids[n % ids.length] as string),
    );
  }

  #makeOf(tenant: Tenant, kind: Kind, ids: readonly string[]): Operation {
    const name = `op${this.operations.length}`;
    const items = ids.map(
      (id, index): Item => ({ id, fields: { title: `${name}.${index}`, data: { [name]: index } } }),
    );
    const operation: Operation = { name, kind, tenant, items, told: 'nothing yet', succeeded: new Set() };
    this.operations.push(operation);
    return operation;
  }

  async #applyBatch(tenant: Tenant): Promise<void> {
    const operation = this.#make(tenant, 'batch', this.#random.integer(1, 200));
    const answer = await this.#insist(tenant, (send) =>
      send('POST', bulkUpdate, this.#body(operation, 'sync'), keyOf(operation)),
    );
    noteResults(operation, answer.body.results);
    operation.jobId = answer.body.jobId;
    operation.told = 'done';
  }

  /** Repeated without a key of the whole: the keys of the items must do. */
  async #applyWithItemKeys(tenant: Tenant): Promise<void> {
    const operation = this.#make(tenant, 'item keys', this.#random.integer(1, 100));
    for (const [index, item] of operation.items.entries()) item.idempotencyKey = `${operation.name}.${index}`;
    for (const _ of ['first', 'again']) {
      const answer = await this.#insist(tenant, (send) => send('POST', bulkUpdate, this.#body(operation, 'sync')));
      noteResults(operation, answer.body.results);
    }
    operation.told = 'done';
  }

  async #writeOne(tenant: Tenant): Promise<void> {
    const operation = this.#make(tenant, 'one', 1);
    const [{ id, fields }] = operation.items as [Item];
    const { body: written } = await this.#insist(tenant, (send) =>
      send('PATCH', `/api/v1/cases/${id}`, fields, keyOf(operation)),
    );
    operation.succeeded.add(0);
    operation.told = 'done';
    const { body: read } = await this.#insist(tenant, (send) => send('GET', `/api/v1/cases/${id}`));
    if (read.version < written.version || read.data[operation.name] !== 0) {
      throw new Error(`${operation.name} of ${id}, version ${written.version}, was not there: ${JSON.stringify(read)}`);
    }
  }

  async #applyJob(tenant: Tenant, operation: Operation, mayControl = true): Promise<void> {
    const { body } = await this.#insist(tenant, (send) =>
      send('POST', bulkUpdate, this.#body(operation, 'async'), keyOf(operation)),
    );
    operation.jobId = body.jobId;
    const choice = mayControl ? this.#random.next() : 1;
    if (choice < 0.2) {
      await this.#control(tenant, operation, 'pause');
      await this.#control(tenant, operation, 'resume');
    } else if (choice < 0.4) await this.#control(tenant, operation, 'cancel');
    await this.#readEnd(tenant, operation, body.jobId);
    const left = operation.items.flatMap((_, index) => (operation.succeeded.has(index) ? [] : [index]));
    if (left.length > 0) {
      const { body: retry } = await this.#insist(tenant, (send) => send('POST', `/api/v1/jobs/${body.jobId}/retry`));
      await this.#readEnd(tenant, operation, retry.jobId, left);
    } else if (choice > 0.9 && mayControl && operation.kind !== 'ordered') {
      const { body: revert } = await this.#insist(tenant, (send) => send('POST', `/api/v1/jobs/${body.jobId}/revert`));
      operation.reverted = true;
      await this.#waitForEnd(tenant, revert.jobId);
    }
    operation.told = 'done';
  }

  /** Half of the uploads have a key and are repeated; of the others nothing is known when they break off. */
  async #upload(tenant: Tenant): Promise<void> {
    const operation = this.#make(tenant, 'upload', this.#random.integer(1_000, Math.min(3_000, this.#ids.length)));
    const keyed = this.#random.chance(0.5);
    const pauseMs = this.#random.integer(0, 40);
    const path = `${bulkUpdate}?label=${operation.name}`;
    const headers = { 'content-type': 'application/x-ndjson', ...(keyed ? keyOf(operation) : {}) };
    const once = (send: Send) => send('POST', path, linesOf(operation.items, pauseMs), headers);
    const answer = keyed ? await this.#insist(tenant, once) : await this.#tryOnce(tenant, once);
    if (answer?.status !== 202) {
      operation.told = 'unknown';
      return;
    }
    operation.jobId = answer.body.jobId;
    await this.#readEnd(tenant, operation, answer.body.jobId);
    operation.told = 'done';
  }

  #body({ name, items }: Operation, mode: string): Json {
    return { items: items as unknown as Json, options: { mode, label: name, return: 'minimal' } };
  }

  async #control(tenant: Tenant, { jobId }: Operation, action: string): Promise<void> {
    await this.#insist(tenant, (send) => send('POST', `/api/v1/jobs/${jobId}/${action}`));
  }

  async #waitForEnd(tenant: Tenant, jobId: string): Promise<Answer> {
    for (;;) {
      const answer = await this.#insist(tenant, (send) => send('GET', `/api/v1/jobs/${jobId}/status?wait=2`));
      if (['completed', 'cancelled', 'failed'].includes(answer.body.status)) return answer;
    }
  }

  /** Waits for a job and reads its results; it holds all items of the operation, or those at the given indexes. */
  async #readEnd(tenant: Tenant, operation: Operation, jobId: string, indexes?: readonly number[]): Promise<void> {
    const total = indexes?.length ?? operation.items.length;
    const { body: job } = await this.#waitForEnd(tenant, jobId);
    const { text } = await this.#insist(
      tenant,
      (send) => send('GET', `/api/v1/jobs/${jobId}/results`, undefined, { accept: 'application/x-ndjson' }),
      // why: a stream that broke off in the middle ends with a line that says so
      ({ text }) => text.split('\n').length === total + 1,
    );
    const results = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as ToldResult);
    const succeeded = results.filter(({ status }) => status === 'succeeded').length;
    if (job.summary.total !== total || job.summary.succeeded !== succeeded) {
      throw new Error(`${operation.name}: ${total} items, of which ${succeeded} succeeded, but ${JSON.stringify(job)}`);
    }
    noteResults(operation, results, indexes);
  }

  async #tryOnce(tenant: Tenant, work: (send: Send) => Promise<Answer>): Promise<Answer | undefined> {
    const server = this.#anyApi();
    if (server === undefined) return undefined;
    try {
      const answer = await work((...request) => sendTo(server.url, tenant.key, request));
      return this.#random.chance(lostAnswers) ? undefined : answer;
    } catch {
      return undefined;
    }
  }

  /** Repeats a request, at any process, until it is done. An answer that is neither done nor "later" is a fault. */
  async #insist(
    tenant: Tenant,
    work: (send: Send) => Promise<Answer>,
    isWhole: (answer: Answer) => boolean = () => true,
  ): Promise<Answer> {
    const began = performance.now();
    const end = began + insistMs;
    let what = '';
    let told = '';
    let last: Answer | undefined;
    while (performance.now() < end && !this.#abandoned) {
      const sentAt = performance.now();
      let wrote = false;
      last = await this.#tryOnce(tenant, (send) =>
        work((method, path, ...rest) => {
          what = `${method} ${path} ${JSON.stringify(rest[1] ?? {})}`;
          wrote = method !== 'GET';
          return send(method, path, ...rest);
        }),
      );
      if (last && last.status < 300 && isWhole(last)) {
        if (wrote) this.#noteWrite(sentAt);
        const ms = performance.now() - began;
        if (ms > this.slowest.ms) this.slowest = { ms, what: `${what}:${told}` };
        return last;
      }
      if (last && isConflictOfControl(last)) return last;
      if (last) this.#checkRefusal(last);
      told += ` ${Math.round(performance.now() - sentAt)} ms ${last?.status} ${last?.body?.code}`;
      await delay(10 + this.#random.integer(0, 20));
    }
    throw new Error(`Not done within ${insistMs} ms: ${last?.status} ${last?.text}`);
  }

  #noteWrite(sentAt: number): void {
    if (!this.#writeSince || sentAt < this.#writeSince.sentAfter) return;
    this.#writeSince.resolve(performance.now());
    this.#writeSince = undefined;
  }

  #checkRefusal({ status, body, headers, text }: Answer): void {
    this.refusals += 1;
    if (status < 300) return;
    const later = ['database_unavailable', 'idempotency_in_progress'].includes(body?.code);
    const conflict = status === 409 && body?.code === 'job_conflict';
    if (conflict || (later && Number(headers.get('retry-after')) > 0)) return;
    throw new Error(`A request was answered ${status}: ${text}`);
  }

  #anyApi() {
    const living = this.#cluster.living('api');
    return living[this.#random.integer(0, living.length - 1)];
  }
}

type Send = (
  method: string,
  path: string,
  body?: Json | AsyncGenerator<Uint8Array>,
  headers?: Record<string, string>,
) => Promise<Answer>;

interface ToldResult {
  index: number;
  status: string;
  id: string;
  changed?: boolean;
}

const keyOf = ({ name }: Operation) => ({ 'idempotency-key': name });

async function sendTo(
  base: string,
  key: string,
  [method, path, body, headers = {}]: Parameters<Send>,
): Promise<Answer> {
  const stream = typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
  const response = await fetch(base + path, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    signal: AbortSignal.timeout(attemptMs),
    ...(body === undefined ? {} : { body: stream ? ReadableStream.from(body) : JSON.stringify(body), duplex: 'half' }),
  });
  const text = await response.text();
  const isJson = /json($|;)/.test(response.headers.get('content-type') ?? '') && !text.includes('\n{');
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : undefined, text };
}

async function* linesOf(items: readonly Item[], pauseMs: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < items.length; from += 250) {
    const part = items.slice(from, from + 250);
    yield new TextEncoder().encode(part.map((item) => `${JSON.stringify(item)}\n`).join(''));
    await delay(pauseMs);
  }
}

/** A job that has ended, or is being cancelled, cannot be asked for much: that is an answer. */
function isConflictOfControl({ status, body }: Answer): boolean {
  return status === 409 && body?.code === 'job_conflict' && /cannot be/.test(body.detail);
}

function noteResults(
  { items, succeeded }: Operation,
  results: readonly ToldResult[],
  indexes?: readonly number[],
): void {
  for (const { id, status, index, changed } of results) {
    const at = indexes ? (indexes[index] as number) : index;
    if (items[at]?.id !== id) throw new Error(`Result ${index} is of ${id}, not of ${items[at]?.id}.`);
    if (status !== 'succeeded') continue;
    // why: each title is new, so an item that changed nothing was applied before
    if (!changed) throw new Error(`Item ${at} of ${items[at]?.fields.title} changed nothing.`);
    succeeded.add(at);
  }
}
