import { afterAll, beforeAll, expect, test } from 'vitest';
import { JobEvents } from '../src/runtime/job-events.ts';
import { JobReader } from '../src/runtime/job-reader.ts';
import { Live } from '../src/runtime/live.ts';
import { type Fixture, openFixture, silent } from './widgets.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture?.close());

test('a job that cannot be read is no job that is over: the error is thrown, and the next who follows is told', async () => {
  const { job } = await fixture.submit({ items: [{ id: 'gone', fields: { size: 5 } }] });
  const live = new Live(fixture.url, silent);
  let reads = 0;
  class Failing extends JobReader {
    override async get(tenantId: string, jobId: string) {
      reads += 1;
      if (reads === 2) throw new Error('the database is away');
      return await super.get(tenantId, jobId);
    }
  }
  const events = new JobEvents(fixture.engine.pool, live, new Failing(fixture.engine.pool, live));
  const params = { tenantId: 'acme', jobId: job.jobId, signal: new AbortController().signal };
  await expect(events.follow(params).next()).rejects.toThrow('the database is away');
  const kinds: string[] = [];
  for await (const { kind } of events.follow(params)) kinds.push(kind);
  expect(kinds).toEqual(['failure', 'end']);
});
