/** Bulk updates over your own Postgres tables: the whole public surface of the engine. */
export {
  type BatchContent,
  type BatchOperation,
  type BatchOptions,
  type BrokenItem,
  defaultLimits,
  type Item,
  type ItemRules,
  type Limits,
  type ParsedBatch,
  type Priority,
  parseBatch,
  parseOptions,
  parseStreamedItem,
  priorities,
  type StreamedItem,
} from './domain/batch.ts';
export {
  type InputError,
  type ItemCode,
  isRetryable,
  itemCodes,
  type RequestCode,
  RequestError,
  type RequestErrorDetails,
  requestCodes,
} from './domain/codes.ts';
export {
  type CheckInput,
  type Collection,
  type CollectionInput,
  defineCollection,
  type Field,
  type Filter,
  presentRecord,
  type RecordState,
  type Rejection,
  type TableMapping,
} from './domain/collection.ts';
export { decodeCursor, encodeCursor } from './domain/cursor.ts';
export type { Change, ItemResult } from './domain/decide.ts';
export {
  isTerminal,
  isUploading,
  type Job,
  type JobOperation,
  type JobStatus,
  jobStatuses,
  type Outcome,
  outcomeOf,
  type Progress,
  processedOf,
  progressOf,
  type Summary,
} from './domain/job.ts';
export {
  findUnstorableText,
  isJsonObject,
  type Json,
  type JsonObject,
  jsonEqual,
  pointerSegment,
} from './domain/json.ts';
export { type Lifecycle, lifecycleProblems } from './domain/lifecycle.ts';
export { mergePatch } from './domain/merge-patch.ts';
export type { ResultFilter } from './domain/result-filter.ts';
export { isPrice, type Prices, type Usage, type UsageCounts, type UsageDay } from './domain/usage.ts';
export { createEngine } from './runtime/create-engine.ts';
export type {
  AnyCollectionMount,
  Caller,
  CollectionMount,
  DecidedItems,
  Effect,
  Engine,
  EngineLogger,
  EngineOptions,
  JobEvent,
  Page,
  Removed,
  ResultRow,
  StreamSubmission,
  Submission,
  SubmitOutcome,
  TimesToLive,
} from './runtime/engine.ts';
export type { HistoryEntry } from './storage/change-store.ts';
export type { Database, Pool, QueryResult, Transaction } from './storage/database.ts';
export { asRequestError } from './storage/errors.ts';
export type { RetryChoice } from './storage/job-store.ts';
export { type MigrationSet, SchemaError } from './storage/migrate.ts';
export { empty, join, type Sql, sql } from './storage/sql.ts';
export { jsonKind, TableError } from './storage/table-check.ts';
