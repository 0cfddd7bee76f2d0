import { DocketError, type DocketOptions, Http } from './http.ts';
import type {
  BatchAnswer,
  BatchOptions,
  Case,
  CasePatch,
  CaseUpdate,
  HistoryEntry,
  ItemResult,
  Job,
  NewCase,
  Outcome,
  Page,
  Summary,
} from './types.ts';

export type * from './types.ts';
export { DocketError, type DocketOptions };

export interface CaseFilters {
  status?: string;
  assignee?: string;
  priority?: Case['priority'];
  caseType?: string;
  /** RFC 3339. */
  updatedSince?: string;
  /** Text in the id or the title. */
  q?: string;
  /** A field; with a leading - to descend. */
  sort?: string;
}

interface SynchronousBody {
  jobId: string;
  outcome: Outcome;
  summary: Summary;
  results?: ItemResult<Case>[];
}

/**
 * A Docket server. Every call rejects with DocketError when the server refuses it; its `code` is one of the codes documented
 * by the server at `/errors`.
 */
export class Docket {
  readonly cases: Cases;
  readonly jobs: Jobs;

  constructor(options: DocketOptions) {
    const http = new Http(options);
    this.jobs = new Jobs(http);
    this.cases = new Cases(http, this.jobs);
  }
}

export class Cases {
  readonly #http: Http;
  readonly #jobs: Jobs;

  constructor(http: Http, jobs: Jobs) {
    this.#http = http;
    this.#jobs = jobs;
  }

  /** The case as it is now: never a stale one. */
  async get(caseId: string): Promise<Case> {
    return (await this.#http.send<Case>({ method: 'GET', path: `/cases/${encodeURIComponent(caseId)}` })).body;
  }

  async create(newCase: NewCase): Promise<Case> {
    return (await this.#http.send<Case>({ method: 'POST', path: '/cases', body: newCase })).body;
  }

  /** Changes one case. With `ifVersion`, only if it has that version (else code `version_conflict`). */
  async patch(caseId: string, patch: CasePatch, options: { ifVersion?: number } = {}): Promise<Case> {
    const headers: Record<string, string> =
      options.ifVersion === undefined ? {} : { 'if-match': `"v${options.ifVersion}"` };
    const path = `/cases/${encodeURIComponent(caseId)}`;
    return (await this.#http.send<Case>({ method: 'PATCH', path, body: patch, headers })).body;
  }

  /** Every matching case, page by page, in a stable order. */
  list(filters: CaseFilters = {}): AsyncGenerator<Case> {
    return pages<Case>(this.#http, '/cases', { ...filters, limit: 200 });
  }

  /** The changes of a case, newest first. */
  history(caseId: string): AsyncGenerator<HistoryEntry> {
    return pages<HistoryEntry>(this.#http, `/cases/${encodeURIComponent(caseId)}/history`, { limit: 200 });
  }

  /** Changes many cases, each with its own fields: results at once for a small batch, a job to follow for a large one. */
  async bulkUpdate(updates: readonly CaseUpdate[], options: BatchOptions = {}): Promise<BatchAnswer<Case>> {
    return await this.#batch('/cases/bulk-update', { updates, options });
  }

  /** Creates many cases, answered like `bulkUpdate`. */
  async bulkCreate(items: readonly NewCase[], options: BatchOptions = {}): Promise<BatchAnswer<Case>> {
    return await this.#batch('/cases/bulk-create', { items, options });
  }

  async #batch(path: string, body: object): Promise<BatchAnswer<Case>> {
    const answer = await this.#http.send<SynchronousBody | Job>({ method: 'POST', path, body });
    if (answer.status === 202) {
      const job = answer.body as Job;
      return { done: false, jobId: job.jobId, job };
    }
    const { jobId, outcome, summary, results } = answer.body as SynchronousBody;
    if (results) return { done: true, jobId, outcome, summary, results };
    return { done: true, jobId, outcome, summary, results: await collect(this.#jobs.results<Case>(jobId)) };
  }
}

export class Jobs {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  async get(jobId: string): Promise<Job> {
    return (await this.#http.send<Job>({ method: 'GET', path: `/jobs/${jobId}` })).body;
  }

  /** Resolves when the job has ended; asks by long poll, so it costs nearly nothing to wait. */
  async done(jobId: string, options: { signal?: AbortSignal } = {}): Promise<Job> {
    for (;;) {
      const path = `/jobs/${jobId}/status`;
      const { body } = await this.#http.send<Job>({ method: 'GET', path, query: { wait: 30 }, signal: options.signal });
      if (body.outcome !== null) return await this.get(jobId);
    }
  }

  /** Results in request order, of one status where it is given. */
  results<Resource>(
    jobId: string,
    filter: { status?: ItemResult<Resource>['status'] } = {},
  ): AsyncGenerator<ItemResult<Resource>> {
    return pages<ItemResult<Resource>>(this.#http, `/jobs/${jobId}/results`, { ...filter, limit: 1000 });
  }
}

async function* pages<Row>(
  http: Http,
  path: string,
  query: Record<string, string | number | undefined>,
): AsyncGenerator<Row> {
  let cursor: string | undefined;
  do {
    const { body } = await http.send<Page<Row>>({ method: 'GET', path, query: { ...query, cursor } });
    yield* body.items;
    cursor = body.nextCursor ?? undefined;
  } while (cursor !== undefined);
}

async function collect<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const all: Row[] = [];
  for await (const row of rows) all.push(row);
  return all;
}
