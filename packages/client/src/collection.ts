import type {
  BatchOptions,
  CallOptions,
  ItemExtras,
  ItemResult,
  Selection,
  SendOptions,
  StreamedOptions,
  WriteOptions,
} from './batch.ts';
import type { ApiRequest, Http, Query } from './http.ts';
import { endOf, type Job } from './job.ts';
import { JobHandle } from './job-handle.ts';
import type { Jobs } from './jobs.ts';
import type { Case, CaseShape, CaseStatus, HistoryEntry, Shape, ShapeOf } from './records.ts';
import {
  asFile,
  asLines,
  bufferItems,
  type Format,
  type ItemFile,
  type ItemSource,
  streamedOptions,
  streamItems,
} from './upload.ts';

/** One record to change: its id with the fields beside it, or in `fields`. */
export type UpdateItem<S extends Shape> = ItemExtras & {
  /** Applied only if the record has this version, else `version_conflict`. */
  version?: number;
} & ((S['patch'] & IdMember<S>) | { id: string; fields: S['patch'] });

type IdMember<S extends Shape> = { id: string } | { [Id in S['id']]: string };

/** One record to create. */
export type CreateItem<S extends Shape> = S['create'] & ItemExtras;

/** Items as an array, or one by one: from an iterable, or from a function that makes one, so that it can be sent again. */
export type Items<Item> = readonly Item[] | ItemSource<Item> | (() => ItemSource<Item>);

export interface GetOptions extends CallOptions {
  /** Answers once this job has decided this record. */
  afterJob?: string;
  /** How long to wait for that, in seconds: up to 60. Default: 10. Then `deadline_exceeded`. */
  waitSeconds?: number;
}

export interface PatchOptions extends WriteOptions {
  /** Only if the record has this version, else `version_conflict`. */
  ifVersion?: number;
}

/** Arrays up to so many items and characters go up as JSON, larger ones as a stream. */
const mostInJson = { items: 1_000, chars: 8 * 1024 * 1024 };
/** Ids in one question for statuses. */
const mostIds = 1_000;

/** The results, or the job. */
interface BatchAnswer<Row> extends Pick<Job, 'jobId' | 'status' | 'outcome' | 'summary' | 'error'> {
  results?: ItemResult<Row>[];
}

/** The records of a collection. Reads see everything that was acknowledged before they began. */
export class Collection<Row extends object, S extends Shape = ShapeOf<Row>> {
  readonly name: string;
  protected readonly http: Http;
  readonly #jobs: Jobs;
  readonly #path: string;

  constructor(http: Http, jobs: Jobs, name: string) {
    this.http = http;
    this.#jobs = jobs;
    this.name = name;
    this.#path = `/${encodeURIComponent(name)}`;
  }

  async get(id: string, { afterJob, waitSeconds, signal }: GetOptions = {}): Promise<Row> {
    return await this.http.get(this.#pathOf(id), { afterJob, wait: waitSeconds }, signal);
  }

  /** Every matching record, page by page as they are asked for, in a stable order: of the id, or of `sort`, a field (`-` in front: descending). */
  list(
    { sort, ...filters }: S['filters'] & { sort?: string } = {},
    { signal }: CallOptions = {},
  ): AsyncGenerator<Row, void, undefined> {
    return this.http.pages(this.#path, { ...(filters as Query), sort, limit: 200 }, signal);
  }

  /** The record as it was created. Rejects with `already_exists`, `validation_failed` and other codes of items. */
  async create(record: S['create'], { idempotencyKey = newKey(), signal }: WriteOptions = {}): Promise<Row> {
    const request = { method: 'POST', path: this.#path, json: JSON.stringify(record), idempotencyKey, signal } as const;
    return (await this.http.send<Row>(request)).body;
  }

  /** Changes one record by an RFC 7396 merge patch; the record as it is then. Rejects with the codes of items. */
  async patch(id: string, patch: S['patch'], options: PatchOptions = {}): Promise<Row> {
    const { ifVersion, idempotencyKey = newKey(), signal } = options;
    const headers: Record<string, string> = ifVersion === undefined ? {} : { 'if-match': `"v${ifVersion}"` };
    const json = JSON.stringify(patch);
    const request = { method: 'PATCH', path: this.#pathOf(id), json, headers, idempotencyKey, signal } as const;
    return (await this.http.send<Row>(request)).body;
  }

  /** The changes of a record, newest first. */
  history(id: string, { signal }: CallOptions = {}): AsyncGenerator<HistoryEntry, void, undefined> {
    return this.http.pages(`${this.#pathOf(id)}/history`, { limit: 200 }, signal);
  }

  /**
   * Changes many records, each with its own fields and its own fate. Small batches have ended when this resolves; larger ones, and
   * all that are not given as an array, are jobs. Above 1,000 items they go up as a stream, so that memory does not hold them twice.
   *
   * A file (`{ type, content }`) goes up as it stands; the server reads it and tells of each row.
   *
   * An array, and a function that makes an iterable, are sent again when the network fails; an iterable can be read only once, so it
   * is not. An `idempotencyKey` of your own makes it safe to start over.
   *
   * Rejects with DocketError when the batch as a whole is refused: then nothing was applied. Items that fail do not reject, but for
   * `atomic`.
   */
  async bulkUpdate(
    items: readonly UpdateItem<S>[] | Selection<S['filters'], S['patch']>,
    options?: BatchOptions & SendOptions,
  ): Promise<JobHandle<Row>>;
  async bulkUpdate(
    items: Items<UpdateItem<S>> | ItemFile,
    options?: StreamedOptions & SendOptions,
  ): Promise<JobHandle<Row>>;
  async bulkUpdate(
    content: Items<UpdateItem<S>> | ItemFile | Selection<S['filters'], S['patch']>,
    options: BatchOptions & SendOptions = {},
  ): Promise<JobHandle<Row>> {
    if (!('where' in content)) return await this.#sendItems('bulk-update', content, options);
    const { where, fields, expectedCount } = content;
    const { idempotencyKey, signal, gzip: _, ...batch } = options;
    const json = JSON.stringify({ where, fields, expectedCount, options: batch });
    return await this.#send('bulk-update', { json }, { idempotencyKey, signal });
  }

  /** Creates many records; otherwise as `bulkUpdate`. */
  async bulkCreate(items: readonly CreateItem<S>[], options?: BatchOptions & SendOptions): Promise<JobHandle<Row>>;
  async bulkCreate(
    items: Items<CreateItem<S>> | ItemFile,
    options?: StreamedOptions & SendOptions,
  ): Promise<JobHandle<Row>>;
  async bulkCreate(
    items: Items<CreateItem<S>> | ItemFile,
    options: BatchOptions & SendOptions = {},
  ): Promise<JobHandle<Row>> {
    return await this.#sendItems('bulk-create', items, options);
  }

  async #sendItems(
    action: string,
    items: Items<object> | ItemFile,
    options: BatchOptions & SendOptions,
  ): Promise<JobHandle<Row>> {
    if ('content' in items) return await this.#stream(action, items.content, asFile(items.type), options);
    const { idempotencyKey, signal, gzip: _, ...batch } = options;
    const json = Array.isArray(items) ? jsonOf(items, batch) : undefined;
    if (json !== undefined) return await this.#send(action, { json }, { idempotencyKey, signal });
    return await this.#stream(action, items, asLines, options);
  }

  async #stream(
    action: string,
    source: Items<unknown>,
    format: Format,
    { idempotencyKey, signal, gzip = false, ...batch }: BatchOptions & SendOptions,
  ): Promise<JobHandle<Row>> {
    const query = streamedOptions(batch);
    const open = typeof source === 'function' ? source : () => source;
    const repeatable = typeof source === 'function' || Array.isArray(source);
    const upload = this.http.streamUploads
      ? streamItems(open, { format, gzip, repeatable })
      : await bufferItems(open, { format, gzip, signal });
    return await this.#send(action, { upload, query: { ...query } }, { idempotencyKey, signal });
  }

  async #send(
    action: string,
    content: Pick<ApiRequest, 'json' | 'upload' | 'query'>,
    { idempotencyKey = newKey(), signal }: { [Name in keyof WriteOptions]: WriteOptions[Name] | undefined },
  ): Promise<JobHandle<Row>> {
    const path = `${this.#path}/${action}`;
    const request = { method: 'POST', path, ...content, idempotencyKey, signal } as const;
    const { body } = await this.http.send<BatchAnswer<Row>>(request);
    return new JobHandle(this.#jobs, body.jobId, { end: endOf(body), results: body.results });
  }

  #pathOf(id: string): string {
    return `${this.#path}/${encodeURIComponent(id)}`;
  }
}

/** Cases, and what they have beyond other collections. */
export class Cases extends Collection<Case, CaseShape> {
  /** The present status of many cases, in the order of the ids, from the primary. Above 1,000 ids it asks several times. */
  async refreshStatus(
    caseIds: readonly string[],
    { forceCacheInvalidation, signal }: { forceCacheInvalidation?: boolean } & CallOptions = {},
  ): Promise<{ cases: CaseStatus[]; notFound: string[] }> {
    const found: { cases: CaseStatus[]; notFound: string[] } = { cases: [], notFound: [] };
    for (let from = 0; from < caseIds.length; from += mostIds) {
      const json = JSON.stringify({ caseIds: caseIds.slice(from, from + mostIds), forceCacheInvalidation });
      const request = { method: 'POST', path: '/cases/refresh-status', json, repeatable: true, signal } as const;
      const { body } = await this.http.send<typeof found>(request);
      found.cases.push(...body.cases);
      found.notFound.push(...body.notFound);
    }
    return found;
  }
}

/** The items as a JSON body; undefined when they are better sent as a stream. */
function jsonOf(items: readonly object[], options: BatchOptions): string | undefined {
  const asArray = options.mode === 'sync' || options.atomic === true;
  if (items.length > mostInJson.items && !asArray) return undefined;
  const json = JSON.stringify({ items, options });
  return json.length > mostInJson.chars && !asArray ? undefined : json;
}

function newKey(): string {
  return crypto.randomUUID();
}
