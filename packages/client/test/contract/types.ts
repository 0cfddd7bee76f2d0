/*
 * The client's types are those of the server: each is compared with what the public generator makes of /openapi.json. A member that
 * is added, removed, renamed, made optional or given another type on either side is a type error here that names it.
 */
import type {
  BatchOptions,
  Case,
  CaseFilters,
  CasePatch,
  CaseStatus,
  CaseType,
  CaseTypeDefinition,
  CreatedWebhook,
  HistoryEntry,
  ItemResult,
  Job,
  JobEnd,
  JobFilters,
  JobState,
  KnownErrorCode,
  KnownItemCode,
  Limits,
  NewCase,
  NewOrder,
  NewWebhookEndpoint,
  Order,
  OrderFilters,
  OrderPatch,
  Problem,
  ResultFilter,
  RetryOptions,
  RotatedSecret,
  StreamedOptions,
  Summary,
  Usage,
  WebhookDelivery,
  WebhookEndpoint,
} from '@docket/client';
import type { components, operations } from './openapi.ts';

/** The paths of all members, with `?` after an optional one: `progress.total`, `label?`. */
type Members<Type> = Type extends readonly (infer Item)[]
  ? Item extends object
    ? Members<Item>
    : never
  : Type extends object
    ? {
        [Name in keyof Type & string]: string extends Name
          ? never
          : (object extends Pick<Type, Name> ? `${Name}?` : Name) | Within<Name, NonNullable<Type[Name]>>;
      }[keyof Type & string]
    : never;
type Within<Name extends string, Type> = Type extends object ? `${Name}.${Members<Type>}` : never;

/** Compiles if the two types are the same, and else says what they do not have in common. */
type Check<Verdict extends true> = Verdict;
type Same<Client, Server> = [Server] extends [never] ? 'the server has no such thing' : Compared<Client, Server>;
type Compared<Client, Server> = [Exclude<Members<Client>, Members<Server>>] extends [never]
  ? [Exclude<Members<Server>, Members<Client>>] extends [never]
    ? [Loose<Client>] extends [Loose<Server>]
      ? [Loose<Server>] extends [Loose<Client>]
        ? true
        : { theServerAllowsMore: Exclude<Server, Client>; thanTheClient: Client }
      : { theClientAllowsMore: Exclude<Client, Server>; thanTheServer: Server }
    : { theClientLacks: Exclude<Members<Server>, Members<Client>> }
  : { theServerLacks: Exclude<Members<Client>, Members<Server>> };

/** Free-form values, lists that may not be changed, and codes of newer servers are told in other ways by the generator. */
type Loose<Type> = Type extends string | number | boolean | null | undefined
  ? Type
  : Type extends readonly (infer Item)[]
    ? Loose<Item>[]
    : string extends keyof Type
      ? object
      : unknown extends Type
        ? unknown
        : { [Name in keyof Type]: Loose<Type[Name]> };

type Answer<Operation extends keyof operations, Status extends number = 200> = operations[Operation] extends {
  responses: Record<Status, { content: { 'application/json': infer Body } }>;
}
  ? Body
  : never;
type Sent<Operation extends keyof operations> = operations[Operation] extends {
  requestBody?: { content: { 'application/json': infer Body } };
}
  ? Body
  : never;
type Asked<Operation extends keyof operations> = operations[Operation] extends { parameters: { query?: infer Query } }
  ? NonNullable<Query>
  : never;
type Row<Page> = Page extends { items: (infer Item)[] } ? Item : never;
/** Of a union of request bodies, the one that has a member. */
type Having<Union, Name extends string> = Extract<Union, Record<Name, unknown>>;
type BulkUpdate = Sent<'postCasesBulkUpdate'>;
type Paging = 'limit' | 'cursor' | 'sort';

type Result = Row<Answer<'getJobsByJobIdResults'>>;
type ProblemBody = components['schemas']['Problem'];

type ResultOfCase = NonNullable<Answer<'postCasesBulkUpdate'>['results']>[number];
/** Without the index signature that stands for the id under the collection's own name. */
type Named<Type> = { [Name in keyof Type as string extends Name ? never : Name]: Type[Name] };

export interface Comparisons {
  case: Check<Same<Case, Answer<'getCasesByCaseId'>>>;
  caseInList: Check<Same<Case, Row<Answer<'getCases'>>>>;
  newCase: Check<Same<NewCase, Sent<'postCases'>>>;
  casePatch: Check<Same<CasePatch, Sent<'patchCasesByCaseId'>>>;
  caseFilters: Check<Same<keyof CaseFilters, keyof Omit<Asked<'getCases'>, Paging>>>;
  caseFields: Check<Same<CasePatch, Having<BulkUpdate, 'where'>['fields']>>;
  caseSelection: Check<Same<keyof CaseFilters, keyof Having<BulkUpdate, 'where'>['where']>>;
  order: Check<Same<Order, Answer<'getOrdersByOrderId'>>>;
  newOrder: Check<Same<NewOrder, Sent<'postOrders'>>>;
  orderPatch: Check<Same<OrderPatch, Sent<'patchOrdersByOrderId'>>>;
  orderFilters: Check<Same<keyof OrderFilters, keyof Omit<Asked<'getOrders'>, Paging>>>;
  history: Check<Same<HistoryEntry, Row<Answer<'getCasesByCaseIdHistory'>>>>;
  caseStatus: Check<Same<CaseStatus, Answer<'postCasesRefreshStatus'>['cases'][number]>>;
  caseType: Check<Same<CaseType, Answer<'getCaseTypesByName'>>>;
  caseTypeDefinition: Check<Same<CaseTypeDefinition, Sent<'putCaseTypesByName'>>>;
  limits: Check<Same<Limits, Answer<'getLimits'>>>;
  usage: Check<Same<Usage, Answer<'getUsage'>>>;
  webhook: Check<Same<WebhookEndpoint, Answer<'getWebhooksByWebhookId'>>>;
  webhookInList: Check<Same<WebhookEndpoint, Row<Answer<'getWebhooks'>>>>;
  newWebhook: Check<Same<NewWebhookEndpoint, Sent<'postWebhooks'>>>;
  createdWebhook: Check<Same<CreatedWebhook, Answer<'postWebhooks', 201>>>;
  rotatedSecret: Check<Same<RotatedSecret, Answer<'postWebhooksByWebhookIdRotate'>>>;
  delivery: Check<Same<WebhookDelivery, Row<Answer<'getWebhooksByWebhookIdDeliveries'>>>>;
  // why: the client takes the id of every batch, so there is no option to leave it out
  options: Check<Same<BatchOptions, Omit<NonNullable<Having<BulkUpdate, 'items'>['options']>, 'returnJobId'>>>;
  streamedOptions: Check<Same<StreamedOptions, Asked<'postCasesBulkUpdate'>>>;
  answer: Check<
    Same<
      keyof Answer<'postCasesBulkUpdate'>,
      Exclude<keyof JobEnd, 'error'> | 'dryRun' | 'results' | 'links' | 'updated' | 'failed'
    >
  >;
  job: Check<Same<Job, Answer<'getJobsByJobId'>>>;
  jobInList: Check<Same<Job, Row<Answer<'getJobs'>>>>;
  jobState: Check<Same<JobState, Answer<'getJobsByJobIdStatus'>>>;
  jobAccepted: Check<Same<Job, Omit<Answer<'postCasesBulkUpdate', 202>, 'queued'>>>;
  jobFilters: Check<Same<JobFilters, Omit<Asked<'getJobs'>, Paging>>>;
  summary: Check<Same<Summary, Answer<'getJobsByJobId'>['summary']>>;
  retry: Check<Same<Pick<RetryOptions, 'only'>, NonNullable<Sent<'postJobsByJobIdRetry'>>>>;
  result: Check<Same<Omit<ItemResult<object>, 'error'>, Omit<Named<Result>, 'error'>>>;
  resultError: Check<
    Same<Omit<NonNullable<ItemResult<object>['error']>, 'code'>, Omit<NonNullable<Named<Result>['error']>, 'code'>>
  >;
  resultOfCase: Check<Same<Omit<ItemResult<Case>, 'error'>, Omit<ResultOfCase, 'error' | 'caseId'>>>;
  resultFilters: Check<Same<'code' | keyof Omit<Asked<'getJobsByJobIdResults'>, Paging>, keyof ResultFilter>>;
  resultStatuses: Check<
    Same<NonNullable<ResultFilter['status']>, NonNullable<Asked<'getJobsByJobIdResults'>['status']>>
  >;
  itemCodes: Check<Same<KnownItemCode, NonNullable<Named<Result>['error']>['code']>>;
  problem: Check<Same<Omit<Problem, 'code' | 'jobId' | 'outcome' | 'summary' | 'results'>, Omit<ProblemBody, 'code'>>>;
  problemCodes: Check<
    Same<
      Exclude<KnownErrorCode, 'network_error' | 'timeout' | 'job_timeout' | 'webhook_invalid' | 'unreadable_answer'>,
      ProblemBody['code']
    >
  >;
}
