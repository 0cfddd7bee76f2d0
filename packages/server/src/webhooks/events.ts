import { outcomeOf, type Summary } from '@docket/engine';
import { basePath, jobPath } from '../routes/job-view.ts';
import { presentEventId } from './ids.ts';

/** `standard`: `{type, timestamp, data}` as Standard Webhooks has it; `cloudevents`: CloudEvents 1.0 as JSON. */
export const envelopes = ['standard', 'cloudevents'] as const;
export type Envelope = (typeof envelopes)[number];

export const jobEvents = ['job.completed', 'job.failed', 'job.cancelled'] as const;
/** Sent by hand, to whatever an endpoint subscribes. */
export const testEvent = 'webhook.test';

/** All that can be subscribed to: the ends of jobs, and the changes of each collection. */
export function eventTypes(collections: Iterable<string>): string[] {
  return [...jobEvents, ...[...collections].map(updatedEvent)];
}

export function updatedEvent(collection: string): string {
  return `${collection}.updated`;
}

/** What a delivery is made from; frozen when it happened, so that every attempt sends the same. */
export interface StoredEvent {
  eventId: string;
  type: string;
  /** RFC 3339. */
  occurredAt: string;
  data: object;
}

/** Bytes of ids that one event may hold, so that it stays under the 20 kB that receivers may rely on. */
const idBytes = 16_000;

/** Ids by parts that fit into one event each. */
export function splitIds(ids: readonly string[]): string[][] {
  const parts: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const id of ids) {
    const more = bytesOf(id) + 3;
    if (bytes + more > idBytes) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(id);
    bytes += more;
  }
  return parts;
}

/** What an id takes as JSON, without its quotes. */
function bytesOf(id: string): number {
  return /^[\w .:/-]*$/.test(id) ? id.length : Buffer.byteLength(JSON.stringify(id)) - 2;
}

/** The body of a delivery and its media type; the same for each attempt. */
export function renderEvent(event: StoredEvent, envelope: Envelope): { body: string; contentType: string } {
  const id = presentEventId(event.eventId);
  const { type, occurredAt } = event;
  const data = isJobEvent(type) ? describeJob(event.data as JobFacts) : event.data;
  if (envelope === 'standard') {
    return { body: JSON.stringify({ type, timestamp: occurredAt, data }), contentType: 'application/json' };
  }
  const { jobId } = data as { jobId?: string };
  const cloudEvent = {
    specversion: '1.0',
    id,
    source: basePath,
    type,
    time: occurredAt,
    ...(jobId === undefined ? {} : { subject: jobId }),
    datacontenttype: 'application/json',
    data,
  };
  return { body: JSON.stringify(cloudEvent), contentType: 'application/cloudevents+json' };
}

function isJobEvent(type: string): boolean {
  return (jobEvents as readonly string[]).includes(type);
}

/** The columns of `Effect.endedJob` that an event tells. */
interface JobFacts {
  jobId: string;
  status: 'completed' | 'failed' | 'cancelled';
  summary: Summary;
  error: unknown;
}

function describeJob({ error, ...job }: JobFacts): object {
  const self = jobPath(job.jobId);
  return {
    ...job,
    outcome: outcomeOf(job.status, job.summary),
    ...(error === null ? {} : { error }),
    links: { self, results: `${self}/results` },
  };
}
