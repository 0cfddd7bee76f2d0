import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertInvariants } from '../../engine/test/invariants.ts';
import { waitUntil } from '../../engine/test/wait-until.ts';
import { casesTable } from './cases-table.ts';
import { createCases, type Served, serve } from './served.ts';

let served: Served;
let sql: pg.Pool;
beforeAll(async () => {
  served = await serve({ limits: { streamItems: 3_000, itemBytes: 2_000, streamLineBytes: 8_000 } });
  sql = new pg.Pool({ connectionString: served.databaseUrl, max: 2 });
});
afterAll(async () => {
  if (sql) {
    await waitUntil(
      async () => (await sql.query('select 1 from docket.runnable_jobs')).rowCount === 0,
      'all jobs ended',
    );
    await assertInvariants(sql, [casesTable]);
  }
  await sql?.end();
  await served?.stop();
});

const ndjson = 'application/x-ndjson';
const csv = 'text/csv';
const update = '/api/v1/cases/bulk-update';
let made = 0;
async function newIds(count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => `S-${++made}`);
  await createCases(served, ids);
  return ids;
}

async function send(type: string, body: string | Buffer, path = update, headers: Record<string, string> = {}) {
  const method = headers.method ?? 'POST';
  return await served.call(method, path, typeof body === 'string' ? body : new Uint8Array(body), {
    'content-type': type,
    ...headers,
  });
}

/** The results of a stream that is taken, once its job has ended. */
async function resultsOf(type: string, body: string | Buffer, path = update, headers: Record<string, string> = {}) {
  const answer = await send(type, body, path, headers);
  expect(answer.body).toMatchObject({ jobId: expect.stringMatching(/^job_/) });
  expect(answer.status).toBe(202);
  const { jobId } = answer.body;
  const { body: job } = await served.call('GET', `/api/v1/jobs/${jobId}/status?wait=30`);
  expect(job.status).toBe('completed');
  const { body: page } = await served.call('GET', `/api/v1/jobs/${jobId}/results?limit=1000`);
  return { answer, job, results: page.items };
}
const verdicts = (results: { status: string; error?: { code: string; message: string } }[]) =>
  results.map(({ status, error }) => (error ? `${error.code}: ${error.message}` : status));
const readCase = async (id: string) => (await served.call('GET', `/api/v1/cases/${id}`)).body;

const countJobs = async (status?: string) => {
  const { rows } = await sql.query(
    `select count(*)::int as n, (select count(*)::int from docket.job_chunks where state = 'pending') as pending
     from docket.jobs where $1::text is null or status = $1`,
    [status ?? null],
  );
  return rows[0] as { n: number; pending: number };
};

describe('NDJSON', () => {
  it.each(['POST', 'PATCH'])('is taken as a job, by %s', async (method) => {
    const [a, b] = await newIds(2);
    const lines = [
      `\uFEFF{"caseId":"${a}","assignee":"kim","ref":"one"}`,
      '',
      `{"id":"${b}","fields":{"assignee":"lee"},"version":1}\r`,
      `{"caseId":"${b}","assignee":null}`,
    ];
    const { answer, job, results } = await resultsOf(ndjson, lines.join('\n'), update, { method });
    expect(answer.headers.get('location')).toBe(`/api/v1/jobs/${answer.body.jobId}`);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.body).toMatchObject({ status: 'pending', queued: 3, summary: { total: 3 } });
    expect(job.outcome).toBe('all_succeeded');
    expect(results).toMatchObject([{ id: a, ref: 'one' }, { id: b }, { id: b, version: 3 }]);
    expect(await readCase(a as string)).toMatchObject({ assignee: 'kim' });
  });

  it('creates, making ids', async () => {
    const { job, results } = await resultsOf(ndjson, '{"title":"A"}\n{"title":"B"}\n', '/api/v1/cases/bulk-create');
    expect(job.summary).toMatchObject({ total: 2, succeeded: 2 });
    expect(results[0].id).toMatch(/^case_/);
  });

  it('fails a broken line alone, and says where it is', async () => {
    const [a] = (await newIds(1)) as [string];
    const lines = [
      `{"caseId":"${a}","assignee":"kim"}`,
      '{"caseId": x}',
      '[1]',
      `{"caseId":"${a}","title":"x","title":"y"}`,
      `{"caseId":"${a}","__proto__":{}}`,
      `{"caseId":"${a}","title":"a\\u0000b"}`,
      `{"caseId":"${a}","title":"\\ud800"}`,
      `{"caseId":"${a}","version":"one","ref":"line eight"}`,
      '{"assignee":"kim"}',
      `{"caseId":"${a}","title":"${'x'.repeat(3_000)}"}`,
      '['.repeat(40),
      `{"caseId":"${a}","assignee":"lee"}`,
    ];
    const { job, results } = await resultsOf(ndjson, lines.join('\r\n'));
    expect(job.summary).toEqual({ total: 12, succeeded: 2, failed: 10, notProcessed: 0 });
    const failed = verdicts(results.slice(1, -1));
    expect(failed.every((one) => one.startsWith('validation_failed: Line '))).toBe(true);
    expect(failed[0]).toBe(
      'validation_failed: Line 2, column 12: The line is not valid JSON: "x" cannot stand there. Mend it there.',
    );
    expect(failed[1]).toContain('Line 3: An item must be an object.');
    expect(failed[2]).toContain('Line 4: The line has the member "title" twice in one object. Keep one.');
    expect(failed[3]).toContain('Line 5: The line has a member named "__proto__"');
    expect(failed[4]).toContain('Line 6: Text must not contain the NUL character');
    expect(failed[5]).toContain('Line 7: Text must not contain a lone surrogate');
    expect(results[7]).toMatchObject({ id: a, ref: 'line eight', error: { field: null } });
    expect(failed[7]).toContain('Line 9: The item needs `caseId`');
    expect(failed[8]).toContain('Line 10: The item has 3029 bytes; an item may have 2000.'.slice(0, 22));
    expect(failed[9]).toContain('Line 11, column 33: The line is nested more than 32 levels deep');
  });
});

describe('the path of all collections', () => {
  const shared = '/api/v1/bulk-update';
  it.each(['POST', 'PATCH'])('takes streams by %s, of cases where no collection is named', async (method) => {
    const [a] = (await newIds(1)) as [string];
    const lines = `{"caseId":"${a}","assignee":"kim"}\n`;
    const plain = await resultsOf(ndjson, lines, shared, { method });
    expect(plain.results).toMatchObject([{ caseId: a, changed: true }]);
    const zipped = gzipSync(`caseId,assignee\n${a},lee\n`);
    const named = await resultsOf(csv, zipped, `${shared}?collection=cases&label=named`, {
      method,
      'content-encoding': 'gzip',
    });
    expect(named.answer.body).toMatchObject({ collection: 'cases', label: 'named' });
    const orders = await resultsOf(csv, 'orderId,note\nnone,x\n', `${shared}?collection=orders`, { method });
    expect(orders.results).toMatchObject([{ orderId: 'none', error: { code: 'not_found' } }]);
  });
});

describe('CSV', () => {
  it('reads quoted fields, CRLF, a byte order mark, empty cells and null', async () => {
    const [a, b, c] = await newIds(3);
    const text =
      '\uFEFFcaseId,title,assignee,data,version,ref\r\n' +
      `${a},"Two ""lines""\r\nof, text",kim,"{""floor"": 3}",1,row 1\r\n` +
      `\r\n${b},,kim,,,\r\n${b},,\\N,,2,row 3\r\n` +
      `${c},"  kept  ",,,,`;
    const { job, results } = await resultsOf(csv, text);
    expect(verdicts(results)).toEqual(['succeeded', 'succeeded', 'succeeded', 'succeeded']);
    expect(job.summary.total).toBe(4);
    expect(results).toMatchObject([{ ref: 'row 1' }, {}, { ref: 'row 3', version: 3 }, {}]);
    expect(await readCase(a as string)).toMatchObject({
      title: 'Two "lines"\r\nof, text',
      assignee: 'kim',
      data: { floor: 3 },
    });
    expect(await readCase(b as string)).toMatchObject({ title: `Case ${b}`, assignee: null });
    expect(await readCase(c as string)).toMatchObject({ title: '  kept  ' });
  });

  it('sets members of an object by columns of their own', async () => {
    const [a] = (await newIds(1)) as [string];
    await resultsOf(csv, `caseId,data.floor,data.room\n${a},3,B\n`);
    await resultsOf(csv, `caseId,data.floor,data.room\n${a},\\N,\n`);
    expect((await readCase(a)).data).toEqual({ room: 'B' });
  });

  it('reads numbers, and fails what is none with its line and column', async () => {
    const rows = ['customer,amount,currency', 'ACME,12.5,EUR', 'ACME,much,EUR', 'ACME,1,EUR,x', 'ACME'];
    const { results } = await resultsOf(csv, rows.join('\n'), '/api/v1/orders/bulk-create');
    expect(verdicts(results)).toEqual([
      'succeeded',
      'validation_failed: Line 3, column "amount": "much" is no number.',
      'validation_failed: Line 4: The row has 4 cells, the header has 3 columns.',
      'validation_failed: Line 5: The row has 1 cells, the header has 3 columns.',
    ]);
    expect(results[1].error.field).toBe('amount');
  });

  it('keeps characters that are cut in two on their way', async () => {
    const ids = await newIds(3);
    const title = 'a🙂é'.repeat(115);
    const rows = Array.from({ length: 24 }, (_, n) => `${ids[n % 3]},"${'x'.repeat(n)}${title}"\n`);
    const { job } = await resultsOf(csv, `caseId,title\n${rows.join('')}`);
    expect(job.outcome).toBe('all_succeeded');
    expect((await readCase(ids[2] as string)).title).toBe('x'.repeat(23) + title);
  });

  it('counts lines over line breaks in cells', async () => {
    const [a] = (await newIds(1)) as [string];
    const { results } = await resultsOf(csv, `caseId,title,version\n${a},"a\nb\nc",\n${a},"d\ne",one\n${a},f,two\n`);
    expect(verdicts(results).slice(1)).toEqual([
      'validation_failed: Line 5, column "version": "one" is no number.',
      'validation_failed: Line 7, column "version": "two" is no number.',
    ]);
    expect(results[1].id).toBe(a);
  });

  it('writes null into the results as it is read', async () => {
    const [a] = (await newIds(1)) as [string];
    const { answer } = await resultsOf(csv, `caseId,assignee\n${a},\\N\n`);
    const { text } = await served.call('GET', `/api/v1/jobs/${answer.body.jobId}/results.csv`);
    expect(text.split('\r\n')[1]).toContain(`${a},,,,,\\N,,`);
  });

  it.each([
    ['caseId,colour\nA,red\n', 'The column "colour" is not known. The columns are: caseId, caseType'],
    ['title\nA\n', 'The column "caseId" is missing'],
    ['caseId,title,title\n', 'The column "title" stands twice'],
    ['caseId,id\n', 'The column "id" is the id, which another column is already'],
    ['caseId,data,data.x\n', 'The column "data" stands beside columns of its members'],
    ['caseId,data.__proto__\n', 'The column "data.__proto__" is not known'],
    ['caseId,title.x\n', 'The column "title.x" is not known'],
  ])('is refused before anything is taken: %j', async (text, detail) => {
    const before = await countJobs();
    const answer = await send(csv, text);
    expect(answer).toMatchObject({ status: 400, body: { code: 'malformed_body' } });
    expect(answer.body.detail).toContain(detail);
    expect(await countJobs()).toEqual(before);
  });
});

describe('a compressed stream', () => {
  it.each([
    [ndjson, (id: string) => `{"caseId":"${id}","assignee":"zip"}\n`],
    [csv, (id: string) => `caseId,assignee\n${id},zip\n`],
  ])('of %s is taken', async (type, bodyOf) => {
    const [a] = (await newIds(1)) as [string];
    const { job } = await resultsOf(type, gzipSync(bodyOf(a)), update, { 'content-encoding': 'gzip' });
    expect(job.outcome).toBe('all_succeeded');
  });

  it('in another encoding is refused', async () => {
    const answer = await send(ndjson, 'x', update, { 'content-encoding': 'br' });
    expect(answer).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } });
    expect(answer.headers.get('accept-encoding')).toBe('gzip, identity');
  });
});

describe('options', () => {
  it('stand in the query', async () => {
    const [a] = (await newIds(1)) as [string];
    const body = `{"caseId":"${a}","assignee":"kim"}\n`;
    const { answer, results } = await resultsOf(
      ndjson,
      body,
      `${update}?dryRun=true&label=may&priority=high&maxErrors=3`,
    );
    expect(answer.body).toMatchObject({ dryRun: true, label: 'may', priority: 'high' });
    expect(results).toMatchObject([{ before: { assignee: null }, after: { assignee: 'kim' } }]);
    expect(await readCase(a)).toMatchObject({ assignee: null, version: 1 });
    const applied = await served.call('POST', `/api/v1/jobs/${answer.body.jobId}/apply`, undefined, {
      prefer: 'wait=10',
    });
    expect(applied.status).toBeLessThan(300);
    await served.call('GET', `/api/v1/jobs/${applied.body.jobId}/status?wait=10`);
    expect(await readCase(a)).toMatchObject({ assignee: 'kim' });
  });

  it.each([
    ['callbackUrl=x', 400, 'malformed_body'],
    ['callbackUrl=http%3A%2F%2F10.0.0.1%2F', 422, 'validation_failed'],
    ['mode=sync', 400, 'unknown_option'],
    ['dryRun=maybe', 400, 'invalid_parameter'],
    ['maxErrors=0', 400, 'invalid_parameter'],
    ['priority=urgent', 400, 'invalid_parameter'],
  ])('%s is refused', async (query, status, code) => {
    expect(await send(ndjson, '{}', `${update}?${query}`)).toMatchObject({ status, body: { code } });
  });

  it('in the query of a JSON body are refused', async () => {
    const answer = await served.call('POST', `${update}?dryRun=true`, [{ caseId: 'x' }]);
    expect(answer).toMatchObject({ status: 400, body: { code: 'unknown_option' } });
  });

  it('stop a job after so many failures', async () => {
    const { job } = await resultsOf(ndjson, '{"caseId":"none"}\n'.repeat(5), `${update}?maxErrors=2`);
    expect(job.summary).toEqual({ total: 5, succeeded: 0, failed: 2, notProcessed: 3 });
  });
});

describe('what cannot be read', () => {
  const good = Array.from({ length: 2_000 }, (_, n) => `{"caseId":"none-${n}"}\n`).join('');

  it.each([
    [
      'bytes that are no UTF-8',
      ndjson,
      Buffer.concat([Buffer.from(good), Buffer.from([0x22, 0xff, 0x0a])]),
      'line 2001, byte 1',
    ],
    ['a line beyond every bound', ndjson, `${good}"${'x'.repeat(9_000)}"`, 'Line 2001 is longer than 8000 bytes'],
    ['a quote that is not closed', csv, `caseId,title\n${'none,"x"\n'.repeat(2_000)}none,"x\n`, 'line 2002'],
    ['more items than may be', ndjson, '{"caseId":"none"}\n'.repeat(3_001), '3000 items'],
    [
      'no UTF-8 in CSV',
      csv,
      Buffer.concat([Buffer.from(`caseId,title\n${`none,${'x'.repeat(95)}\n`.repeat(2_000)}`), Buffer.from([0xff])]),
      'near byte 202013',
    ],
  ])('%s leaves a failed job and nothing else', async (_, type, body, place) => {
    const answer = await send(type, body);
    expect([400, 413]).toContain(answer.status);
    expect(answer.body.detail).toContain(place);
    expect(answer.body.detail).toContain('Nothing was applied');
    const { body: job } = await served.call('GET', `/api/v1/jobs/${answer.body.jobId}`);
    expect(job).toMatchObject({
      status: 'failed',
      outcome: 'all_failed',
      summary: { total: 0 },
      error: { code: answer.body.code, message: answer.body.detail },
    });
    expect((await countJobs()).pending).toBe(0);
  });

  it('is gzip data that is cut off or damaged', async () => {
    const whole = gzipSync(good);
    const encoding = { 'content-encoding': 'gzip' };
    for (const body of [whole.subarray(0, -20), Buffer.from('no gzip at all')]) {
      const answer = await send(ndjson, body, update, encoding);
      expect(answer).toMatchObject({ status: 400, body: { code: 'malformed_body' } });
      expect(answer.body.detail).toMatch(/The gzip data is damaged or cut off after \d+ bytes/);
    }
    expect((await countJobs()).pending).toBe(0);
  });

  it.each([
    [ndjson, ''],
    [ndjson, '\n\n'],
    [csv, ''],
    [csv, 'caseId,title\n'],
  ])('%s without an item (%j) is an empty batch', async (type, body) => {
    expect(await send(type, body)).toMatchObject({ status: 422, body: { code: 'batch_empty' } });
  });

  it.each(['/api/v1/cases', '/bulk-jobs'])('is a stream to %s', async (path) => {
    expect(await send(ndjson, '{}\n', path)).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } });
  });

  it('names a collection that is not there, or one where the path has it', async () => {
    const shared = '/api/v1/bulk-update';
    const unknown = await send(csv, 'caseId\nx\n', `${shared}?collection=planets`);
    expect(unknown.body).toMatchObject({
      code: 'unknown_collection',
      detail: expect.stringContaining('cases, orders'),
    });
    expect((await send(csv, 'caseId\nx\n', `${update}?collection=cases`)).body.code).toBe('unknown_option');
    const json = await served.call('POST', `${shared}?collection=cases`, [{ caseId: 'x' }]);
    expect(json).toMatchObject({ status: 400, body: { code: 'unknown_option' } });
    expect(json.body.detail).toContain('Put `collection` into the body');
  });

  it('is text in another encoding', async () => {
    expect((await send(`${csv}; charset=latin1`, 'caseId\nx\n')).status).toBe(415);
    expect((await send(`${csv}; charset=UTF-8`, 'caseId\nx\n')).status).toBe(202);
  });
});

describe('an upload', () => {
  /** A request whose body the test writes piece by piece. */
  function open(path = update, headers: Record<string, string> = {}) {
    const request = httpRequest(served.base + path, {
      method: 'POST',
      headers: { authorization: served.authorization, 'content-type': ndjson, ...headers },
    });
    const answer = new Promise<number>((resolve, reject) => {
      request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode as number);
      });
      request.on('error', reject);
    });
    answer.catch(() => undefined);
    return { request, answer };
  }
  const uploading = async () =>
    (await sql.query(`select job_id from docket.jobs where status = 'pending' and total = 0`)).rows.length;
  const chunksUploaded = async () =>
    (
      await sql.query(
        `select 1 from docket.job_chunks c join docket.jobs j using (tenant_id, job_id) where j.status = 'pending' and j.total = 0`,
      )
    ).rows.length;
  const lines = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, n) => `{"caseId":"none-${from + n}"}\n`).join('');

  it('that breaks off leaves a failed job, and its key free', async () => {
    const headers = { 'idempotency-key': '"broken-off"' };
    const { request } = open(update, headers);
    request.write(lines(0, 1_500));
    await waitUntil(async () => (await chunksUploaded()) === 1, 'a chunk was stored');
    const { body: list } = await served.call('GET', '/api/v1/jobs?status=pending');
    expect(list.items).toMatchObject([{ status: 'pending', summary: { total: 0 } }]);
    for (const control of ['cancel', 'pause', 'resume', 'retry', 'revert', 'apply']) {
      const refused = await served.call('POST', `/api/v1/jobs/${list.items[0].jobId}/${control}`);
      expect(refused, control).toMatchObject({ status: 409, body: { code: 'job_conflict' } });
    }
    expect(await send(ndjson, lines(0, 1_500), update, headers)).toMatchObject({
      status: 409,
      body: { code: 'idempotency_in_progress' },
    });
    request.destroy();
    await waitUntil(async () => (await uploading()) === 0, 'the job failed');
    const { body: job } = await served.call('GET', `/api/v1/jobs/${list.items[0].jobId}`);
    expect(job).toMatchObject({ status: 'failed', error: { code: 'malformed_body' } });
    expect(job.error.message).toMatch(/^The upload broke off after \d+ bytes/);
    expect((await countJobs()).pending).toBe(0);
    expect((await send(ndjson, lines(0, 10), update, headers)).status).toBe(202);
  });

  it('whose server died is failed by the next one', async () => {
    const { request, answer } = open();
    request.write(lines(0, 1_500));
    await waitUntil(async () => (await chunksUploaded()) === 1, 'a chunk was stored');
    await sql.query(
      `update docket.jobs set expires_at = now() - interval '1 second' where status = 'pending' and total = 0`,
    );
    await resultsOf(ndjson, lines(0, 5));
    expect(await uploading()).toBe(0);
    expect((await countJobs()).pending).toBe(0);
    // why: had it lived after all, it would have to be told
    request.end(lines(1_500, 2_900));
    expect(await answer).toBe(409);
    expect((await served.call('GET', '/api/v1/jobs?status=failed&limit=1')).body.items[0].error.message).toContain(
      'its server stopped',
    );
  });

  it('with repeated ids applies them in order, over chunks', async () => {
    const [a] = (await newIds(1)) as [string];
    const assignees = Array.from({ length: 2_500 }, (_, n) =>
      n % 400 === 0 ? `{"caseId":"${a}","assignee":"n${n}"}\n` : lines(n, n + 1),
    );
    const { job } = await resultsOf(ndjson, assignees.join(''));
    expect(job.summary).toMatchObject({ total: 2_500, succeeded: 7 });
    expect(await readCase(a)).toMatchObject({ assignee: 'n2400', version: 8 });
    const { body } = await served.call('GET', `/api/v1/cases/${a}/history?limit=10`);
    expect(body.items.map((one: { index: number }) => one.index)).toEqual([2400, 2000, 1600, 1200, 800, 400, 0, 0]);
  });

  it('with a key is taken once, compressed or not', async () => {
    const [a] = (await newIds(1)) as [string];
    const body = `{"caseId":"${a}","assignee":"kim"}\n`;
    const headers = { 'idempotency-key': '"upload-1"' };
    const { answer } = await resultsOf(ndjson, body, update, headers);
    const again = await send(ndjson, gzipSync(body), update, { ...headers, 'content-encoding': 'gzip' });
    expect(again.status).toBe(202);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.body.jobId).toBe(answer.body.jobId);
    for (const [other, path] of [
      [`${body}\n`, update],
      [body, `${update}?label=x`],
    ] as const) {
      expect(await send(ndjson, other, path, headers)).toMatchObject({
        status: 422,
        body: { code: 'idempotency_key_reused' },
      });
    }
    expect(await send(ndjson, body, update, { 'idempotency-key': '""' })).toMatchObject({
      status: 400,
      body: { code: 'idempotency_key_invalid' },
    });
  });
});
