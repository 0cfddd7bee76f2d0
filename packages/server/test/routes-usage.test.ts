import { afterAll, beforeAll, expect, test } from 'vitest';
import { callerOf } from './call.ts';
import { createCases, type Served, serve } from './served.ts';

let server: Served;
beforeAll(async () => {
  server = await serve();
});
afterAll(() => server?.stop());

test('says what was sent, by day and in all, to the tenant that sent it', async () => {
  const { call } = server;
  const other = callerOf(server.base, await server.keyOf('globex'));
  const empty = (await call('GET', '/api/v1/usage')).body;
  expect(empty.total).toEqual({ batches: 0, items: 0, credits: 0 });
  await createCases(server, ['A', 'B', 'C']);
  expect((await call('PATCH', '/api/v1/cases/A', { title: 'Once' })).status).toBe(200);
  expect((await call('PATCH', '/api/v1/cases/A', '{', {})).status).toBe(400);
  expect((await other('PATCH', '/api/v1/cases/A', { title: 'Never' })).status).toBe(404);
  const key = { 'idempotency-key': 'twice' };
  for (let time = 0; time < 2; time++) await call('PATCH', '/api/v1/cases/B', { title: 'Twice' }, key);
  await call('POST', '/bulk-jobs', { operation: 'update_cases', items: [{ id: 'A', status: 'Under Review' }] });
  const { status, body } = await call('GET', `/api/v1/usage?month=${empty.month}`);
  expect(status).toBe(200);
  expect(body.total).toEqual({ batches: 4, items: 6, credits: 2.5 + 1 + 1 + 1.5 });
  expect(body.days.at(-1)).toEqual({ day: expect.stringMatching(/^\d{4}-\d\d-\d\d$/), ...body.total });
  expect(body.days[0].day).toBe(`${body.month}-01`);
  expect((await other('GET', '/api/v1/usage')).body.total).toEqual({ batches: 1, items: 1, credits: 1 });
});

test('refuses what is no month, or one of which nothing is known', async () => {
  const refused = async (query: string) => (await server.call('GET', `/api/v1/usage?${query}`)).body;
  expect(await refused('month=2026-13')).toMatchObject({
    status: 400,
    code: 'invalid_parameter',
    detail: expect.stringContaining('"2026-13" is no month. Write it as 20'),
    errors: [{ pointer: '/month' }],
  });
  expect((await refused('month=9999-01')).detail).toContain('9999-01 has not begun');
  expect((await refused('month=1999-01')).detail).toContain('Usage is kept for 13 months');
  for (const query of ['month=', 'month=%00', 'month=2026-11&month=2026-12'])
    expect(await refused(query)).toMatchObject({ status: 400, code: 'invalid_parameter' });
  expect(await refused('day=1')).toMatchObject({ status: 400, code: 'unknown_option' });
});
