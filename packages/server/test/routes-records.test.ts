import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served?.stop());

const call: Served['call'] = (...args) => served.call(...args);
let count = 0;
const newId = () => `REC-${++count}`;

describe('creating one', () => {
  it('answers 201 with the record, its place and its tag', async () => {
    const answer = await call('POST', '/api/v1/cases', { caseId: 'A/1', title: 'First', data: { a: 1 } });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('location')).toBe('/api/v1/cases/A%2F1');
    expect(answer.headers.get('etag')).toBe('"v1"');
    expect(answer.body).toEqual({
      caseId: 'A/1',
      caseType: 'general',
      title: 'First',
      status: 'New',
      priority: 'normal',
      assignee: null,
      data: { a: 1 },
      version: 1,
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
      updatedAt: answer.body.createdAt,
    });
    expect((await call('GET', answer.headers.get('location') as string)).body).toEqual(answer.body);
  });

  it('makes an id where none is given', async () => {
    const { body } = await call('POST', '/api/v1/cases', { title: 'Without id' });
    expect(body.caseId).toMatch(/^case_[0-9a-f]{32}$/);
  });

  it('takes any status of the type, and the first one of the type where none is given', async () => {
    expect((await call('POST', '/api/v1/cases', { title: 'x', status: 'Closed' })).body.status).toBe('Closed');
    const incident = await call('POST', '/api/v1/cases', { title: 'x', caseType: 'incident' });
    expect(incident.body.status).toBe('New');
  });

  it.each([
    [{ title: 'x', caseType: 'nope' }, '/caseType'],
    [{ title: 'x', caseType: 'nope', status: 'Foo' }, '/caseType'],
    [{ title: 'x', status: 'Foo' }, '/status'],
    [{ title: '' }, '/title'],
    [{ title: 'x'.repeat(501) }, '/title'],
    [{}, '/title'],
    [{ title: 'x', priority: 'huge' }, '/priority'],
    [{ title: 'x', data: [] }, '/data'],
    [{ title: 'x', assignee: '' }, '/assignee'],
    [{ title: 'x', caseId: '' }, '/caseId'],
    [{ title: 'x', caseId: 'x'.repeat(256) }, '/caseId'],
    [{ title: 'x', caseId: 5 }, '/caseId'],
  ])('refuses %j', async (body, pointer) => {
    const answer = await call('POST', '/api/v1/cases', body as never);
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({ code: 'validation_failed', errors: [{ pointer }] });
  });

  it('refuses an id that is taken and a field that does not exist', async () => {
    const caseId = newId();
    await createCases(served, [caseId]);
    expect((await call('POST', '/api/v1/cases', { caseId, title: 'x' })).body.code).toBe('already_exists');
    const unknown = await call('POST', '/api/v1/cases', { title: 'x', colour: 'red' });
    expect(unknown).toMatchObject({ status: 422, body: { code: 'unknown_field', errors: [{ pointer: '/colour' }] } });
  });

  it('refuses more than two decimals rather than rounding them', async () => {
    const order = { customer: 'ACME', currency: 'EUR' };
    expect((await call('POST', '/api/v1/orders', { ...order, amount: 10.005 })).body.errors[0].pointer).toBe('/amount');
    const created = await call('POST', '/api/v1/orders', { ...order, amount: 999_999_999_999.99 });
    expect(created.body).toMatchObject({ amount: 999_999_999_999.99, status: 'pending' });
    expect(created.body.orderId).toMatch(/^order_/);
  });
});

describe('reading one', () => {
  it('answers 304 to a client that has it', async () => {
    const id = newId();
    await createCases(served, [id]);
    const path = `/api/v1/cases/${id}`;
    for (const tag of ['"v1"', 'W/"v1"', '"v7", "v1"', '*']) {
      const answer = await call('GET', path, undefined, { 'if-none-match': tag });
      expect(answer).toMatchObject({ status: 304, text: '' });
      expect(answer.headers.get('etag')).toBe('"v1"');
    }
    expect((await call('GET', path, undefined, { 'if-none-match': '"v2"' })).status).toBe(200);
    expect((await call('GET', path, undefined, { 'if-none-match': 'v2' })).body.code).toBe('invalid_parameter');
  });

  it.each(['nope', '%00', 'x'.repeat(10_000), '%F0%9F%98%80'])('answers 404 for the id %s', async (id) => {
    expect((await call('GET', `/api/v1/cases/${id}`)).body.code).toBe('not_found');
    expect((await call('GET', `/api/v1/cases/${id}/history`)).body.code).toBe('not_found');
    expect((await call('PATCH', `/api/v1/cases/${id}`, { title: 'x' })).body.code).toBe('not_found');
  });

  it('does not show the records of another tenant', async () => {
    const id = newId();
    await createCases(served, [id]);
    const authorization = `Bearer ${await served.keyOf('other')}`;
    const as = (method: string, path: string, body?: object) => call(method, path, body as never, { authorization });
    expect((await as('GET', `/api/v1/cases/${id}`)).status).toBe(404);
    expect((await as('PATCH', `/api/v1/cases/${id}`, { title: 'x' })).status).toBe(404);
    expect((await as('GET', '/api/v1/cases')).body.items).toEqual([]);
    expect((await as('GET', '/api/v1/jobs')).body.items).toEqual([]);
    expect((await as('GET', `/api/v1/cases/${id}/history`)).status).toBe(404);
    expect((await as('POST', '/api/v1/cases', { caseId: id, title: 'Mine' })).status).toBe(201);
    expect((await call('GET', `/api/v1/cases/${id}`)).body.title).toBe(`Case ${id}`);
  });
});

describe('changing one', () => {
  it('applies a merge patch and answers with the record as it is now', async () => {
    const caseId = newId();
    await call('POST', '/api/v1/cases', { caseId, title: 'x', assignee: 'kim', data: { keep: 1, drop: 2 } });
    const patch = { status: 'In Progress', assignee: null, data: { drop: null, list: [1, { a: null }] } };
    const answer = await call('PATCH', `/api/v1/cases/${caseId}`, patch, {
      'content-type': 'application/merge-patch+json',
    });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('etag')).toBe('"v2"');
    expect(answer.body).toMatchObject({
      status: 'In Progress',
      assignee: null,
      data: { keep: 1, list: [1, { a: null }] },
      version: 2,
    });
    expect(answer.body.data).not.toHaveProperty('drop');
    expect((await call('GET', `/api/v1/cases/${caseId}`)).body).toEqual(answer.body);
  });

  it('keeps the version when nothing changes', async () => {
    const id = newId();
    await createCases(served, [id]);
    const answer = await call('PATCH', `/api/v1/cases/${id}`, { status: 'In Progress' });
    expect(answer).toMatchObject({ status: 200, body: { version: 1 } });
  });

  it('compares If-Match strongly', async () => {
    const id = newId();
    await createCases(served, [id]);
    const patch = (ifMatch: string, title: string) =>
      call('PATCH', `/api/v1/cases/${id}`, { title }, { 'if-match': ifMatch });
    expect((await patch('"v1"', 'a')).headers.get('etag')).toBe('"v2"');
    expect((await patch('"v1", "v2"', 'b')).headers.get('etag')).toBe('"v3"');
    expect((await patch('*', 'c')).headers.get('etag')).toBe('"v4"');
    for (const tag of ['"v3"', 'W/"v4"', '"v1", "v2"', '"other"']) {
      expect(await patch(tag, 'd')).toMatchObject({ status: 412, body: { code: 'version_conflict', status: 412 } });
    }
    expect((await patch('v4', 'd')).body.code).toBe('invalid_parameter');
    expect((await call('GET', `/api/v1/cases/${id}`)).body).toMatchObject({ title: 'c', version: 4 });
  });

  it('lets exactly one of many with the same If-Match pass', async () => {
    const id = newId();
    await createCases(served, [id]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        call('PATCH', `/api/v1/cases/${id}`, { title: `by ${index}` }, { 'if-match': '"v1"' }),
      ),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(19);
  });

  it.each([
    [{ status: 'New' }, 409, 'invalid_transition', '/status'],
    [{ status: 'Nope' }, 422, 'validation_failed', '/status'],
    [{ caseType: 'incident' }, 422, 'validation_failed', '/caseType'],
    [{ title: null }, 422, 'validation_failed', '/title'],
    [{ data: null }, 422, 'validation_failed', '/data'],
    [{ version: 3 }, 422, 'unknown_field', '/version'],
    [{ caseId: 'x' }, 422, 'unknown_field', '/caseId'],
    [{ nope: 1 }, 422, 'unknown_field', '/nope'],
  ])('answers %j with %s %s', async (patch, status, code, pointer) => {
    const id = newId();
    await createCases(served, [id]);
    expect(await call('PATCH', `/api/v1/cases/${id}`, patch)).toMatchObject({
      status,
      body: { code, errors: [{ pointer }] },
    });
    expect((await call('GET', `/api/v1/cases/${id}`)).body.version).toBe(1);
  });

  it('refuses a body that is no object, none, or too large', async () => {
    const path = '/api/v1/cases/REC-1';
    expect((await call('PATCH', path, '[]')).body.code).toBe('malformed_body');
    expect((await call('PATCH', path, '')).body.code).toBe('malformed_body');
    expect((await call('PATCH', path)).body.code).toMatch(/malformed_body|unsupported_media_type/);
    const large = await call('PATCH', path, { data: { text: 'x'.repeat(65_536) } });
    expect(large).toMatchObject({ status: 413, body: { code: 'batch_too_large', limit: 65_536 } });
  });

  it('gives the first answer again for the same idempotency key', async () => {
    const id = newId();
    await createCases(served, [id]);
    const headers = { 'idempotency-key': `"${id}"`, 'if-match': '"v1", "v9"' };
    const patch = () => call('PATCH', `/api/v1/cases/${id}`, { title: 'once' }, headers);
    const first = await patch();
    const again = await patch();
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again).toMatchObject({ status: 200, body: first.body });
    expect(again.headers.get('etag')).toBe('"v2"');
    const other = await call('PATCH', `/api/v1/cases/${id}`, { title: 'twice' }, headers);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } });
    const malformed = await call('PATCH', `/api/v1/cases/${id}`, { title: 'x' }, { 'idempotency-key': 'a b' });
    expect(malformed).toMatchObject({ status: 400, body: { code: 'idempotency_key_invalid' } });
  });

  it('replays a creation with the id that was made, and a failure as a failure', async () => {
    const headers = { 'idempotency-key': 'creation-1' };
    const first = await call('POST', '/api/v1/cases', { title: 'x' }, headers);
    const again = await call('POST', '/api/v1/cases', { title: 'x' }, headers);
    expect(again).toMatchObject({ status: 201, body: first.body });
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    const wrong = () =>
      call('POST', '/api/v1/cases', { title: 'x', status: 'Foo' }, { 'idempotency-key': 'creation-2' });
    await wrong();
    const replayed = await wrong();
    expect(replayed).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    expect(replayed.headers.get('idempotency-replayed')).toBe('true');
  });
});

describe('the list', () => {
  const listed = Array.from({ length: 7 }, (_, index) => `LIST-${index}`);
  beforeAll(async () => {
    await createCases(served, listed, 'On Hold');
    await call('PATCH', '/api/v1/cases/LIST-3', { assignee: 'kim', priority: 'urgent', title: 'A 100% special_case' });
  });

  const idsOf = (body: { items: { caseId: string }[] }) => body.items.map(({ caseId }) => caseId);

  it('is walked in pages by cursor and by Link', async () => {
    const seen: string[] = [];
    let path: string | undefined = '/api/v1/cases?status=On+Hold&limit=3';
    while (path) {
      const { body, headers }: Awaited<ReturnType<typeof call>> = await call('GET', path);
      seen.push(...idsOf(body));
      const link: string | undefined = /^<(.*)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1];
      expect(link !== undefined).toBe(body.nextCursor !== null);
      path = link;
    }
    expect(seen).toEqual(listed);
  });

  it('filters by every parameter', async () => {
    const find = async (query: string) => idsOf((await call('GET', `/api/v1/cases?status=On+Hold&${query}`)).body);
    expect(await find('assignee=kim')).toEqual(['LIST-3']);
    expect(await find('assignee=')).toHaveLength(6);
    expect(await find('priority=urgent')).toEqual(['LIST-3']);
    expect(await find('priority=urgent&priority=normal')).toEqual(listed);
    expect(await find('caseType=incident')).toEqual([]);
    expect(await find('q=100%25')).toEqual(['LIST-3']);
    expect(await find('q=SPECIAL_')).toEqual(['LIST-3']);
    expect(await find('q=list-5')).toEqual(['LIST-5']);
    expect(await find('sort=-caseId&limit=2')).toEqual(['LIST-6', 'LIST-5']);
    expect(await find('sort=title&limit=1')).toEqual(['LIST-3']);
    const { body } = await call('GET', '/api/v1/cases/LIST-3');
    expect(await find(`updatedSince=${encodeURIComponent(body.updatedAt)}`)).toEqual(['LIST-3']);
  });

  it.each([
    ['bogus=1', 'unknown_option'],
    ['sort=colour', 'invalid_parameter'],
    ['limit=0', 'invalid_parameter'],
    ['limit=201', 'invalid_parameter'],
    ['limit=x', 'invalid_parameter'],
    ['cursor=abc', 'invalid_parameter'],
    ['updatedSince=yesterday', 'invalid_parameter'],
    ['q=', 'invalid_parameter'],
    ['q=%00', 'invalid_parameter'],
    ['status=%00', 'invalid_parameter'],
  ])('refuses ?%s', async (query, code) => {
    expect(await call('GET', `/api/v1/cases?${query}`)).toMatchObject({ status: 400, body: { code } });
  });

  it('refuses a filter that changes in the middle of a walk', async () => {
    const { body } = await call('GET', '/api/v1/cases?status=On+Hold&limit=2');
    const answer = await call('GET', `/api/v1/cases?status=New&limit=2&cursor=${body.nextCursor}`);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_parameter' } });
  });
});

describe('the history', () => {
  it('tells each change, newest first, in pages', async () => {
    const caseId = newId();
    await call('POST', '/api/v1/cases', { caseId, title: 'a' });
    await call('PATCH', `/api/v1/cases/${caseId}`, { title: 'b' });
    const { body: batch } = await call('PATCH', '/api/v1/cases/bulk-update', [
      { caseId: 'none' },
      { caseId, title: 'c', assignee: 'kim' },
    ]);
    const path = `/api/v1/cases/${caseId}/history?limit=2`;
    const { body, headers } = await call('GET', path);
    expect(body.items).toMatchObject([
      {
        version: 3,
        jobId: batch.jobId,
        index: 1,
        actor: 'admin',
        before: { title: 'b', assignee: null },
        after: { title: 'c', assignee: 'kim' },
      },
      { version: 2, before: { title: 'a' }, after: { title: 'b' } },
    ]);
    expect(headers.get('link')).toContain(`cursor=${body.nextCursor}`);
    const rest = await call('GET', `${path}&cursor=${body.nextCursor}`);
    expect(rest.body).toMatchObject({
      items: [{ version: 1, before: null, after: { title: 'a', status: 'New' } }],
      nextCursor: null,
    });
  });
});

describe('refresh-status', () => {
  it('answers in the order of the request, twice what is asked twice', async () => {
    const [first, second] = [newId(), newId()];
    await createCases(served, [first, second]);
    const caseIds = [second, 'nope', first, second];
    const { status, body } = await call('POST', '/api/v1/cases/refresh-status', {
      caseIds,
      forceCacheInvalidation: true,
    });
    expect(status).toBe(200);
    expect(body.cases.map((one: { caseId: string }) => one.caseId)).toEqual([second, first, second]);
    expect(body.cases[0]).toEqual({
      caseId: second,
      status: 'In Progress',
      version: 1,
      updatedAt: expect.any(String),
      pendingJobIds: [],
    });
    expect(body.notFound).toEqual(['nope']);
  });

  it.each([
    [{ caseIds: [] }, 422, 'batch_empty'],
    [{ caseIds: Array(1_001).fill('x') }, 413, 'batch_too_large'],
    [{ caseIds: 'x' }, 400, 'malformed_body'],
    [{ caseIds: [1] }, 400, 'malformed_body'],
    [{ caseIds: ['x'], force: true }, 400, 'malformed_body'],
    [{ caseIds: ['x'], forceCacheInvalidation: 1 }, 400, 'malformed_body'],
    [['x'], 400, 'malformed_body'],
  ])('refuses %j', async (body, status, code) => {
    expect(await call('POST', '/api/v1/cases/refresh-status', body as never)).toMatchObject({ status, body: { code } });
  });
});
