import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served?.stop());

const call: Served['call'] = (...args) => served.call(...args);
const put = (name: string, body: unknown, headers: Record<string, string> = {}) =>
  call('PUT', `/api/v1/case-types/${name}`, body as never, headers);

const complaint = {
  statuses: ['Open', 'Answered', 'Closed'],
  transitions: { Open: ['Answered'], Answered: ['Open', 'Closed'] },
  initialStatus: 'Open',
};

describe('case types', () => {
  it('has the built-in ones', async () => {
    const { body } = await call('GET', '/api/v1/case-types');
    expect(body.nextCursor).toBeNull();
    expect(body.items.map(({ name }: { name: string }) => name)).toEqual(['general', 'incident']);
    expect((await call('GET', '/api/v1/case-types/general')).body).toEqual({
      name: 'general',
      statuses: ['New', 'In Progress', 'Under Review', 'On Hold', 'Resolved', 'Closed', 'Cancelled'],
      transitions: {
        New: ['In Progress', 'Under Review', 'On Hold', 'Resolved', 'Cancelled'],
        'In Progress': ['Under Review', 'On Hold', 'Resolved', 'Cancelled'],
        'Under Review': ['In Progress', 'On Hold', 'Resolved', 'Cancelled'],
        'On Hold': ['In Progress', 'Under Review', 'Resolved', 'Cancelled'],
        Resolved: ['Closed', 'In Progress'],
        Closed: ['In Progress'],
      },
      initialStatus: 'New',
      dataSchema: null,
      builtIn: true,
    });
    expect((await call('GET', '/api/v1/case-types/nope')).body.code).toBe('not_found');
  });

  it('adds one, uses it, and gives it back as it was sent', async () => {
    const dataSchema = { type: 'object', required: ['channel'], properties: { channel: { enum: ['mail', 'phone'] } } };
    const added = await put('complaint', { ...complaint, dataSchema });
    expect(added.status).toBe(201);
    expect(added.headers.get('location')).toBe('/api/v1/case-types/complaint');
    const read = await call('GET', '/api/v1/case-types/complaint');
    expect(read.body).toEqual({ name: 'complaint', ...complaint, dataSchema, builtIn: false });
    expect((await put('complaint', read.body)).status).toBe(200);

    const create = (data: object) =>
      call('POST', '/api/v1/cases', { caseId: 'C-1', title: 'x', caseType: 'complaint', data } as never);
    expect(await create({})).toMatchObject({ status: 422, body: { errors: [{ pointer: '/data' }] } });
    expect((await create({ channel: 'fax' })).body.detail).toContain('data/channel');
    expect((await create({ channel: 'mail' })).body.status).toBe('Open');
    const patch = (body: object) => call('PATCH', '/api/v1/cases/C-1', body as never);
    expect((await patch({ data: { channel: null } })).body.code).toBe('validation_failed');
    expect((await patch({ status: 'Closed' })).body.code).toBe('invalid_transition');
    expect((await patch({ status: 'Answered', data: { channel: 'phone' } })).status).toBe(200);
    expect((await patch({ status: 'Resolved' })).body).toMatchObject({ code: 'validation_failed' });
  });

  it('takes effect with the next batch', async () => {
    await put('moving', complaint);
    await call('POST', '/api/v1/cases', { caseId: 'M-1', title: 'x', caseType: 'moving' });
    const close = async () =>
      (await call('PATCH', '/api/v1/cases/bulk-update', [{ caseId: 'M-1', status: 'Closed' }])).body.results[0];
    expect((await close()).error.code).toBe('invalid_transition');
    await put('moving', { ...complaint, transitions: { Open: ['Closed'] } });
    expect((await close()).status).toBe('succeeded');
  });

  it('keeps a status that cases have', async () => {
    await put('held', complaint);
    await call('POST', '/api/v1/cases/bulk-create', {
      items: [1, 2, 3].map((number) => ({ caseId: `H-${number}`, title: 'x', caseType: 'held' })),
    });
    const smaller = {
      statuses: ['Answered', 'Closed'],
      transitions: { Answered: ['Closed'] },
      initialStatus: 'Answered',
    };
    const refused = await put('held', smaller);
    expect(refused).toMatchObject({ status: 409, body: { code: 'constraint_violation' } });
    expect(refused.body.detail).toContain('3 cases are in "Open"');
    await call(
      'PATCH',
      '/api/v1/cases/bulk-update',
      [1, 2, 3].map((number) => ({ caseId: `H-${number}`, status: 'Answered' })),
    );
    expect((await put('held', smaller)).status).toBe(200);
  });

  it('never lets a case end in a status that was taken out meanwhile', async () => {
    const wide = { statuses: ['A', 'B'], transitions: { A: ['B'], B: ['A'] }, initialStatus: 'A' };
    const narrow = { statuses: ['A'], transitions: {}, initialStatus: 'A' };
    await put('racing', wide);
    const ids = Array.from({ length: 20 }, (_, index) => `R-${index}`);
    await call('POST', '/api/v1/cases/bulk-create', {
      items: ids.map((caseId) => ({ caseId, title: 'x', caseType: 'racing' })),
    });
    const moves = ids.map((caseId) => call('PATCH', `/api/v1/cases/${caseId}`, { status: 'B' }));
    const [narrowed] = await Promise.all([put('racing', narrow), ...moves]);
    const { body } = await call('GET', '/api/v1/cases?caseType=racing&status=B');
    expect(narrowed.status === 409 || body.items.length === 0).toBe(true);
  });

  it('replaces a built-in one for its tenant only', async () => {
    const own = { statuses: ['New', 'Done'], transitions: { New: ['Done'] }, initialStatus: 'New' };
    const authorization = `Bearer ${await served.keyOf('other')}`;
    const replaced = await put('general', own, { authorization });
    expect(replaced).toMatchObject({ status: 200, body: { builtIn: false, statuses: ['New', 'Done'] } });
    const as = (body: object) => call('POST', '/api/v1/cases', body as never, { authorization });
    expect((await as({ title: 'x', status: 'Done' })).status).toBe(201);
    expect((await as({ title: 'x', status: 'On Hold' })).status).toBe(422);
    expect((await call('POST', '/api/v1/cases', { title: 'x', status: 'On Hold' })).status).toBe(201);
    expect((await call('GET', '/api/v1/case-types/general')).body.builtIn).toBe(true);
  });

  it.each([
    [{ ...complaint, initialStatus: 'Nope' }, 422, 'validation_failed'],
    [{ ...complaint, transitions: { Nope: [] } }, 422, 'validation_failed'],
    [{ ...complaint, transitions: { Open: ['Nope'] } }, 422, 'validation_failed'],
    [{ ...complaint, statuses: ['Open', 'Open'] }, 422, 'validation_failed'],
    [{ ...complaint, name: 'other' }, 422, 'validation_failed'],
    [{ ...complaint, dataSchema: { type: 'nope' } }, 422, 'validation_failed'],
    [{ ...complaint, dataSchema: { $ref: 'http://127.0.0.1/schema' } }, 422, 'validation_failed'],
    [{ ...complaint, dataSchema: { description: 'x'.repeat(70_000) } }, 422, 'validation_failed'],
    [{ ...complaint, dataSchema: [] }, 400, 'malformed_body'],
    [{ ...complaint, statuses: [] }, 400, 'malformed_body'],
    [{ ...complaint, statuses: 'Open' }, 400, 'malformed_body'],
    [{ ...complaint, colour: 'red' }, 400, 'malformed_body'],
    [{}, 400, 'malformed_body'],
  ])('refuses %#', async (body, status, code) => {
    expect(await put('refused', body)).toMatchObject({ status, body: { code } });
    expect((await call('GET', '/api/v1/case-types/refused')).status).toBe(404);
  });

  it.each(['a b', '%00', 'x'.repeat(101), '-x'])('refuses the name %s', async (name) => {
    expect((await put(encodeURIComponent(decodeURIComponent(name)), complaint)).body.code).toBe('invalid_parameter');
  });

  it('has a limit, and names it', async () => {
    const authorization = `Bearer ${await served.keyOf('many')}`;
    for (let number = 0; number < 100; number++) {
      expect((await put(`type-${number}`, complaint, { authorization })).status).toBe(201);
    }
    const refused = await put('one-more', complaint, { authorization });
    expect(refused).toMatchObject({ status: 409, body: { code: 'constraint_violation', limit: 100 } });
    expect((await put('type-7', complaint, { authorization })).status).toBe(200);
  });
});
