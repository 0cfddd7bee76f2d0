export type Json = null | boolean | number | string | Json[] | { [member: string]: Json };

export type CasePriority = 'low' | 'normal' | 'high' | 'urgent';

/** A record with a status and a lifecycle. */
export interface Case {
  caseId: string;
  /** Chooses the lifecycle; stays as it was at creation. */
  caseType: string;
  title: string;
  /** One of the case type's statuses. */
  status: string;
  priority: CasePriority;
  assignee: string | null;
  /** Whatever else there is to say; the case type may set rules. */
  data: { [member: string]: Json };
  /** Rises by one with each change. */
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** The fields of a case that may change: an RFC 7396 merge patch, so null removes. */
export interface CasePatch {
  title?: string;
  status?: string;
  priority?: CasePriority;
  assignee?: string | null;
  data?: { [member: string]: Json };
}

export interface NewCase extends CasePatch {
  /** Left out: the server makes one. */
  caseId?: string;
  /** Default: `general`. */
  caseType?: string;
  title: string;
}

type OneOrMany<Value> = Value | readonly Value[];

export interface CaseFilters {
  status?: OneOrMany<string>;
  /** null: those without. */
  assignee?: OneOrMany<string> | null;
  priority?: OneOrMany<CasePriority>;
  caseType?: OneOrMany<string>;
  /** RFC 3339. */
  updatedSince?: string;
  /** Text within the id or the title, of either case. */
  q?: string;
}

export type OrderStatus = 'pending' | 'paid' | 'shipped' | 'delivered' | 'cancelled' | 'refunded';

export interface Order {
  orderId: string;
  status: OrderStatus;
  customer: string;
  /** With two decimals at most. */
  amount: number;
  /** ISO 4217. */
  currency: string;
  note: string | null;
  version: number;
  createdAt: string;
  updatedAt: string;
}

export interface OrderPatch {
  status?: OrderStatus;
  customer?: string;
  amount?: number;
  currency?: string;
  note?: string | null;
}

export interface NewOrder extends OrderPatch {
  orderId?: string;
  customer: string;
  amount: number;
  currency: string;
}

export interface OrderFilters {
  status?: OneOrMany<OrderStatus>;
  customer?: OneOrMany<string>;
  currency?: OneOrMany<string>;
  updatedSince?: string;
  /** Text within the id, the customer or the note, of either case. */
  q?: string;
}

/** How records of a collection are written and looked for. */
export interface Shape {
  /** The member that holds the id. */
  id: string;
  create: object;
  patch: object;
  filters: object;
}

export interface CaseShape extends Shape {
  id: 'caseId';
  create: NewCase;
  patch: CasePatch;
  filters: CaseFilters;
}

export interface OrderShape extends Shape {
  id: 'orderId';
  create: NewOrder;
  patch: OrderPatch;
  filters: OrderFilters;
}

/** What the server sets itself. */
type ServerSet = 'version' | 'createdAt' | 'updatedAt';

/** An RFC 7396 merge patch of a value: arrays replace, objects merge, null removes. */
export type MergePatch<Value> = Value extends readonly unknown[]
  ? Value
  : Value extends object
    ? { [Member in keyof Value]?: MergePatch<Value[Member]> | null }
    : Value;

/**
 * The shape of a collection of your own, made from its record: the id is the member whose name ends in `Id` (name it as the second
 * parameter when there are several), every other member may be patched. What a creation needs and which values are allowed, the
 * server says.
 */
export interface ShapeOf<Row, Id extends keyof Row & string = Extract<keyof Row, `${string}Id`>> extends Shape {
  id: Id;
  create: { [Field in Exclude<keyof Row, ServerSet>]?: Row[Field] };
  patch: { [Field in Exclude<keyof Row, ServerSet | Id>]?: MergePatch<Row[Field]> };
  filters: { [filter: string]: OneOrMany<string | number | boolean> | null };
}

/** One change of a record. */
export interface HistoryEntry {
  /** Of the record, after the change. */
  version: number | null;
  jobId: string;
  /** Place of the item in its batch. */
  index: number;
  actor: string;
  changedAt: string;
  /** The changed fields; null when the record was created. */
  before: { [field: string]: Json } | null;
  after: { [field: string]: Json };
}

/** A case as `refreshStatus` finds it. */
export interface CaseStatus {
  caseId: string;
  status: string;
  version: number;
  updatedAt: string;
  /** Jobs that hold this case and have not decided it yet. */
  pendingJobIds: string[];
}

/** The lifecycle of a kind of case, and the shape of its data. */
export interface CaseType {
  name: string;
  statuses: string[];
  /** Where a status may go; one without an entry is final. */
  transitions: { [status: string]: string[] };
  initialStatus: string;
  /** JSON Schema (draft 2020-12) of the cases' `data`. */
  dataSchema: { [member: string]: Json } | null;
  /** Comes with the server, and was not replaced. */
  builtIn: boolean;
}

export interface CaseTypeDefinition {
  name?: string;
  statuses: string[];
  transitions: { [status: string]: string[] };
  initialStatus: string;
  dataSchema?: { [member: string]: Json } | null;
  /** Ignored, so that what was read can be sent back. */
  builtIn?: boolean;
}

/** What was sent, whatever became of it. */
export interface UsageCounts {
  /** Batches, writes of single records and dry runs among them. */
  batches: number;
  items: number;
  /** What they cost; dry runs cost nothing. */
  credits: number;
}

/** What was sent in a month. */
export interface Usage {
  /** `2026-11`, UTC. */
  month: string;
  /** Every day that has begun, the first one first; `day` as `2026-11-21`, UTC. */
  days: (UsageCounts & { day: string })[];
  total: UsageCounts;
}

/** The limits in force, as `GET /limits` names them. */
export interface Limits {
  syncAutoItems: number;
  syncMaxItems: number;
  bodyItems: number;
  streamItems: number;
  streamLineBytes: number;
  itemBytes: number;
  bodyBytes: number;
  idLength: number;
  textLength: number;
}
