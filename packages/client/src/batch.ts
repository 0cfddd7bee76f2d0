import type { ItemCode } from './errors.ts';
import type { Json } from './records.ts';

export interface BatchOptions {
  /** `auto`, the default: small batches are answered with their results, larger ones become jobs. `sync`: up to 1,000 items. */
  mode?: 'auto' | 'sync' | 'async';
  /** true: the server answers with the results if the job ends within 60 s; false: with the job, at once. */
  waitForCompletion?: boolean;
  /** Decide everything, change nothing. The handle's `apply` then applies exactly that. */
  dryRun?: boolean;
  /** All or nothing, up to 1,000 items; a failing item rejects with `atomic_batch_failed` and the results. */
  atomic?: boolean;
  /** Stop after so many failures; the rest is `not_processed`. */
  maxErrors?: number;
  /** When the time of a synchronous batch (30 s) ends: give back what is done, or go on as a job. */
  onDeadline?: 'return' | 'continue';
  /** Whether results hold the record as it is then. By default they do where they come with the answer. */
  return?: 'representation' | 'minimal';
  /** Which jobs come first. */
  priority?: 'low' | 'normal' | 'high';
  /** Your own name for the job, to find it by. */
  label?: string;
  /**
   * Is told the end of the job by one webhook, signed with the secret of `webhooks.rotate('callbacks')`, which must have been made
   * before.
   */
  callbackUrl?: string;
}

/** The options that a batch has when it goes up as a stream, and so becomes a job. */
export type StreamedOptions = Pick<
  BatchOptions,
  'dryRun' | 'maxErrors' | 'return' | 'priority' | 'label' | 'callbackUrl'
>;

/** How a request is made, for every call. */
export interface CallOptions {
  /** Ends the call; it then rejects with the signal's reason. What was sent may have been applied. */
  signal?: AbortSignal;
}

/** How a write is made. */
export interface WriteOptions extends CallOptions {
  /**
   * Makes the write safe to repeat, also from another process: the same key and content get the first answer again for 24 hours.
   * Default: a new key for each call, kept over its retries.
   */
  idempotencyKey?: string;
}

/** How a batch is sent. */
export interface SendOptions extends WriteOptions {
  /** Compress the items of a stream: for slow networks. Default: false. */
  gzip?: boolean;
}

/** Records by query; which filters there are, the collection says. */
export interface Selection<Filters, Patch> {
  where: Filters;
  fields: Patch;
  /** Refused with `expected_count_mismatch` unless so many are selected. */
  expectedCount?: number;
}

/** What an item may carry beside its fields. */
export interface ItemExtras {
  /** Your own name for the item, such as the line of a file; given back with its result. */
  ref?: string;
  /** Applied once, in whatever later batch it is sent again; the first result then comes back as `replayed`. */
  idempotencyKey?: string;
}

export type ResultStatus = 'succeeded' | 'failed' | 'not_processed';

/** What became of one item. */
export interface ItemResult<Row> {
  /** Place in the request, from 0. */
  index: number;
  id: string;
  ref?: string;
  status: ResultStatus;
  /** False when the record already was as asked: nothing was written. */
  changed?: boolean;
  /** Of the record, after the item. */
  version?: number;
  /** The record after the item, where `return` asks for it. */
  resource?: Row;
  /** In a dry run: the fields that would change, as they are; null for a creation. */
  before?: { [field: string]: Json } | null;
  /** In a dry run: the fields that would change, as they would be. */
  after?: { [field: string]: Json };
  /** The item's own key was applied before; this is its first result. */
  replayed?: boolean;
  /** Whether the same item may succeed when it is sent again. */
  retryable?: boolean;
  error?: { code: ItemCode; message: string; field: string | null };
}

/** Every item is counted once. */
export interface Summary {
  total: number;
  succeeded: number;
  failed: number;
  notProcessed: number;
}

export type Outcome = 'all_succeeded' | 'some_failed' | 'all_failed';
