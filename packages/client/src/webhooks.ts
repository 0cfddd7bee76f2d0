import { DocketError } from './errors.ts';

/** What a webhook tells; which events there are, the server says. */
export interface WebhookEvent<Data = unknown> {
  /** `job.completed`, `job.failed`, `job.cancelled`, `cases.updated`, or what a newer server knows. */
  type: string;
  /** When it happened, RFC 3339. */
  timestamp: string;
  data: Data;
}

/** Headers as fetch has them, or as Node's `request.headers`. */
export type WebhookHeaders = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

export interface VerifyOptions {
  /** How far the time of the attempt may be from now, either way. Default: 300. */
  toleranceSeconds?: number;
  /** For tests. */
  now?: Date;
}

/** The webhook is not what the server sent, or is too old: code `webhook_invalid`. Answer it with 400. */
export class WebhookVerificationError extends DocketError {
  override readonly name = 'WebhookVerificationError';

  constructor(message: string) {
    super('webhook_invalid', message);
  }
}

/**
 * Checks that a webhook comes from somebody who knows the secret and is of now, as Standard Webhooks 1.0 has it, and gives back what it
 * tells. The payload must be the body exactly as it came, not parsed and written again. During a rotation give the old secret and
 * the new one. Signatures are compared in constant time. Rejects with WebhookVerificationError; with TypeError for a secret that is none.
 */
export async function verifyWebhook<Data = unknown>(
  payload: string | Uint8Array,
  headers: WebhookHeaders,
  secrets: string | readonly string[],
  { toleranceSeconds = 300, now = new Date() }: VerifyOptions = {},
): Promise<WebhookEvent<Data>> {
  const id = headerOf(headers, 'webhook-id');
  const timestamp = headerOf(headers, 'webhook-timestamp');
  const signatures = decodeSignatures(headerOf(headers, 'webhook-signature'));
  const keys = await Promise.all([secrets].flat().map(importSecret));
  checkTime(timestamp, now, toleranceSeconds);
  const body = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  const signed = concat(new TextEncoder().encode(`${id}.${timestamp}.`), body);
  const pairs = keys.flatMap((key) => signatures.map((signature) => ({ key, signature })));
  const verified = await Promise.all(
    pairs.map(({ key, signature }) => crypto.subtle.verify('HMAC', key, signature, signed)),
  );
  if (!verified.includes(true)) {
    throw new WebhookVerificationError(
      'No signature of the webhook fits the secret. Is it the right secret, and the body as it came?',
    );
  }
  try {
    return JSON.parse(new TextDecoder().decode(body)) as WebhookEvent<Data>;
  } catch {
    throw new WebhookVerificationError('The body of the webhook is no JSON.');
  }
}

function headerOf(headers: WebhookHeaders, name: string): string {
  const value = isHeaders(headers) ? headers.get(name) : ownHeader(headers, name);
  if (!value) throw new WebhookVerificationError(`The webhook has no header ${name}.`);
  return value;
}

// why not instanceof: a fetch that is brought along has Headers of its own
function isHeaders(headers: WebhookHeaders): headers is Headers {
  return typeof headers.get === 'function';
}

function ownHeader(headers: Exclude<WebhookHeaders, Headers>, name: string): string | undefined {
  const entry = Object.entries(headers).find(([own]) => own.toLowerCase() === name);
  return entry && [entry[1]].flat().join(' ');
}

function checkTime(timestamp: string, now: Date, toleranceSeconds: number): void {
  const seconds = /^\d{1,15}$/.test(timestamp) ? Number(timestamp) : Number.NaN;
  const age = now.getTime() / 1_000 - seconds;
  if (Math.abs(age) <= toleranceSeconds) return;
  const found = Number.isNaN(age)
    ? 'is no Unix time'
    : `is ${Math.round(Math.abs(age))} s ${age > 0 ? 'old' : 'ahead'}`;
  throw new WebhookVerificationError(`The webhook-timestamp ${found}; ${toleranceSeconds} s are allowed.`);
}

/** The signatures of version 1; others are for other keys. */
function decodeSignatures(header: string): Uint8Array<ArrayBuffer>[] {
  const found = header.split(' ').flatMap((one) => {
    const [version, text = ''] = one.split(',');
    const bytes = version === 'v1' ? decodeBase64(text) : undefined;
    return bytes ? [bytes] : [];
  });
  if (found.length === 0) throw new WebhookVerificationError('The webhook-signature holds no signature of version v1.');
  return found;
}

async function importSecret(secret: string): Promise<CryptoKey> {
  const bytes = decodeBase64(secret.replace(/^whsec_/, ''));
  if (!bytes?.length) throw new TypeError('A webhook secret is base64, with or without whsec_ in front.');
  return await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function concat(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}
