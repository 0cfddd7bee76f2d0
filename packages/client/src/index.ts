export type {
  BatchOptions,
  CallOptions,
  ItemExtras,
  ItemResult,
  Outcome,
  ResultStatus,
  Selection,
  SendOptions,
  StreamedOptions,
  Summary,
  WriteOptions,
} from './batch.ts';
export type { Clock } from './clock.ts';
export type {
  Cases,
  Collection,
  CreateItem,
  GetOptions,
  Items,
  PatchOptions,
  UpdateItem,
} from './collection.ts';
export { type CaseTypes, Docket } from './docket.ts';
export {
  DocketError,
  type ErrorCode,
  type InputError,
  type ItemCode,
  JobTimeoutError,
  type KnownErrorCode,
  type KnownItemCode,
  NetworkError,
  type Problem,
  TimeoutError,
} from './errors.ts';
export type { WaitOptions } from './follow.ts';
export type { DocketOptions } from './http.ts';
export type { Job, JobEnd, JobFilters, JobProgress, JobState, JobStatus } from './job.ts';
export type { JobHandle, ResultFilter } from './job-handle.ts';
export type { Jobs, RetryOptions } from './jobs.ts';
export type {
  Case,
  CaseFilters,
  CasePatch,
  CasePriority,
  CaseShape,
  CaseStatus,
  CaseType,
  CaseTypeDefinition,
  HistoryEntry,
  Json,
  Limits,
  MergePatch,
  NewCase,
  NewOrder,
  Order,
  OrderFilters,
  OrderPatch,
  OrderShape,
  OrderStatus,
  Shape,
  ShapeOf,
  Usage,
  UsageCounts,
} from './records.ts';
export type { ItemFile, ItemSource } from './upload.ts';
export type {
  CreatedWebhook,
  DeliveryFilters,
  NewWebhookEndpoint,
  RotatedSecret,
  WebhookAttempt,
  WebhookDelivery,
  WebhookEndpoint,
  Webhooks,
} from './webhook-endpoints.ts';
export {
  type VerifyOptions,
  verifyWebhook,
  type WebhookEvent,
  type WebhookHeaders,
  WebhookVerificationError,
} from './webhooks.ts';
