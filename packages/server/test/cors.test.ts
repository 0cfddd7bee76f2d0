import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Served, serve } from './served.ts';

const page = 'https://desk.example.com';
let served: Served;
beforeAll(async () => {
  served = await serve({ corsOrigins: [page] });
});
afterAll(() => served?.stop());

const preflight = { 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization' };
const options = (path: string, headers: Record<string, string>) =>
  fetch(served.base + path, { method: 'OPTIONS', headers });

it('lets pages of the origins that are set call the API, before they have shown a key', async () => {
  const answer = await options('/api/v1/cases/C-1', { origin: page, ...preflight });
  expect(answer.status).toBe(204);
  expect(answer.headers.get('access-control-allow-origin')).toBe(page);
  expect(answer.headers.get('access-control-allow-methods')).toContain('PATCH');
  expect(answer.headers.get('access-control-allow-headers')).toBe('authorization');
});

it('lets them read answers, refusals too, and what their headers say', async () => {
  const found = await served.call('GET', '/api/v1/limits', undefined, { origin: page });
  const refused = await served.call('GET', '/api/v1/cases/none', undefined, { origin: page, authorization: 'no' });
  expect([found.status, refused.status]).toEqual([200, 401]);
  for (const { headers } of [found, refused]) {
    expect(headers.get('access-control-allow-origin')).toBe(page);
    expect(headers.get('access-control-expose-headers')).toContain('X-Request-Id');
  }
});

it('lets no others, and changes nothing for the rest', async () => {
  const other = await options('/api/v1/cases/C-1', { origin: 'https://evil.example.com', ...preflight });
  expect(other.headers.get('access-control-allow-origin')).toBeNull();
  const plain = await options('/api/v1/limits', { authorization: served.authorization });
  expect([plain.status, plain.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
  expect((await served.call('GET', '/nowhere')).body.code).toBe('route_not_found');
  expect((await served.call('DELETE', '/api/v1/limits')).body.code).toBe('method_not_allowed');
});
