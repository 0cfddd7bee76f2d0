import type { Json } from '@docket/engine';

export interface Answer {
  status: number;
  headers: Headers;
  /** The JSON of the body, loosely typed; undefined where there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  body: any;
  text: string;
}

/** Sends JSON, with a key; `body` may be text or bytes that are sent as they are. */
export type Call = (
  method: string,
  path: string,
  body?: Json | string | Uint8Array<ArrayBuffer>,
  headers?: Record<string, string>,
) => Promise<Answer>;

/** Calls the server at `base` with this key. */
export function callerOf(base: string, key: string): Call {
  return async (method, path, body, headers = {}) => {
    const response = await fetch(base + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json($|;)/.test(response.headers.get('content-type') ?? '') && !text.includes('\n{');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : undefined, text };
  };
}
