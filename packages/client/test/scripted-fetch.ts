import type { DocketOptions } from '@docket/client';

export interface Sent {
  method: string;
  /** Path and query. */
  path: string;
  headers: Headers;
  body: unknown;
  signal: AbortSignal;
}

type Reply = Response | Error | ((sent: Sent) => Response | Promise<Response>);

export const job = 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10';

/** A fetch that answers as the script says, one reply for each request, and remembers what it was asked. */
export function scriptedFetch(...replies: Reply[]) {
  const sent: Sent[] = [];
  const fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const url = new URL(String(input));
    const one: Sent = {
      method: init.method ?? 'GET',
      path: url.pathname.replace('/api/v1', '') + url.search,
      headers: new Headers(init.headers),
      body: init.body,
      signal: init.signal as AbortSignal,
    };
    sent.push(one);
    const reply = replies.shift();
    if (reply === undefined) throw new Error(`Nothing is scripted for ${one.method} ${one.path}.`);
    if (reply instanceof Error) throw reply;
    return typeof reply === 'function' ? await reply(one) : reply;
  };
  return { sent, fetch, left: () => replies.length };
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', ...headers } });
}

export function problem(
  code: string,
  status: number,
  headers: Record<string, string> = {},
  more: object = {},
): Response {
  const document = {
    type: `https://d.example/errors/${code}`,
    title: `Title of ${code}`,
    status,
    detail: `Detail of ${code}`,
    code,
  };
  return json({ ...document, ...more }, status, { 'x-request-id': 'req-1', ...headers });
}

/** A request that gets no answer until it is given up. */
export function silence({ signal }: Sent): Promise<Response> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

export const options = { baseUrl: 'https://d.example', apiKey: 'key' } satisfies DocketOptions;
