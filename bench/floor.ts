import { zstdCompressSync } from 'node:zlib';
import pg from 'pg';

/**
 * The floor: bare SQL that makes the same durable writes as Docket does (lock the records, write them, a change row for each,
 * the items and results of each chunk, the job's counters, commit), with nothing decided, nothing validated and no HTTP.
 */
export interface Floor {
  /** One batch in one transaction, its job and chunk with it. Gives milliseconds. */
  batch(ids: readonly string[], status: string): Promise<number>;
  /** The same items as jobs: chunks written first, then applied over `floorConnections`. Gives milliseconds. */
  jobs(ids: readonly string[], status: string, jobItems: number): Promise<number>;
  close(): Promise<void>;
}

const chunkItems = 1_000;
/** As many as the server's workers have. */
const floorConnections = 3;

export async function openFloor(url: string): Promise<Floor> {
  const connect = async () => {
    const client = new pg.Client({ connectionString: url, pipeline: true } as pg.ClientConfig);
    await client.connect();
    return client;
  };
  const main = await connect();
  await main.query(`
    create schema if not exists bench;
    drop table if exists bench.cases, bench.changes, bench.jobs, bench.job_chunks;
    create table bench.cases (like docket.cases including all);
    create table bench.changes (like docket.changes including all);
    create table bench.jobs (like docket.jobs including all);
    create table bench.job_chunks (like docket.job_chunks including all);
    alter table bench.job_chunks alter column items set storage external, alter column results set storage external;
    insert into bench.cases select * from docket.cases;`);
  await main.query('vacuum analyze bench.cases');
  let jobs = 0;
  const newJob = () => `00000000-0000-7000-8000-${String(++jobs).padStart(12, '0')}`;
  return {
    batch: async (ids, status) => {
      const started = performance.now();
      await applyBatch(main, newJob(), ids, status);
      return performance.now() - started;
    },
    jobs: async (ids, status, jobItems) => {
      const clients = await Promise.all(Array.from({ length: floorConnections }, connect));
      const started = performance.now();
      const chunks: { job: string; chunkNo: number; ids: readonly string[] }[] = [];
      for (let from = 0; from < ids.length; from += jobItems) {
        const job = newJob();
        await insertJob(main, job, ids.slice(from, from + jobItems), status);
        for (let at = 0; at < jobItems; at += chunkItems) {
          chunks.push({
            job,
            chunkNo: at / chunkItems,
            ids: ids.slice(from + at, from + Math.min(at + chunkItems, jobItems)),
          });
        }
      }
      const work = async (client: pg.Client) => {
        for (let chunk = chunks.shift(); chunk; chunk = chunks.shift()) {
          await applyChunk(client, chunk.job, chunk.chunkNo, chunk.ids, status);
        }
      };
      await Promise.all(clients.map(work));
      const elapsed = performance.now() - started;
      await Promise.all(clients.map((client) => client.end()));
      return elapsed;
    },
    close: () => main.end(),
  };
}

const blob = (rows: readonly unknown[]) => zstdCompressSync(JSON.stringify(rows));
const itemsOf = (ids: readonly string[], status: string) => blob(ids.map((id) => ({ id, fields: { status } })));
const resultsOf = (ids: readonly string[]) =>
  blob(ids.map((id, index) => ({ index, id, status: 'succeeded', changed: true, version: 2 })));

function named(client: pg.Client, name: string, text: string, values: unknown[]) {
  return client.query({ name, text, values });
}

const jobColumns = `tenant_id, job_id, collection, operation, item_operation, status, priority, dry_run, atomic, representation, synchronous,
  ordered, actor, total, succeeded, created_at, started_at, completed_at, expires_at`;

async function applyBatch(client: pg.Client, job: string, ids: readonly string[], status: string): Promise<void> {
  void client.query('begin');
  const versions = await lock(client, ids);
  await Promise.all([
    ...write(client, job, ids, versions, status),
    named(
      client,
      'job_done',
      `insert into bench.jobs (${jobColumns}) values ('default', $1, 'cases', 'update', 'update', 'completed', 1,
      false, false, true, true, false, 'bench', $2, $2, now(), now(), now(), now() + interval '7 days')`,
      [job, ids.length],
    ),
    named(
      client,
      'chunk_done',
      `insert into bench.job_chunks (tenant_id, job_id, chunk_no, first_index, item_count, state, succeeded,
      items, results) values ('default', $1, 0, 0, $2, 'done', $2, $3, $4)`,
      [job, ids.length, itemsOf(ids, status), resultsOf(ids)],
    ),
    client.query('commit'),
  ]);
}

async function insertJob(client: pg.Client, job: string, ids: readonly string[], status: string): Promise<void> {
  const statements: Promise<unknown>[] = [client.query('begin')];
  statements.push(
    named(
      client,
      'job',
      `insert into bench.jobs (${jobColumns}) values ('default', $1, 'cases', 'update', 'update', 'pending', 1, false,
      false, false, false, false, 'bench', $2, 0, now(), null, null, now() + interval '7 days')`,
      [job, ids.length],
    ),
  );
  for (let from = 0; from < ids.length; from += chunkItems) {
    const part = ids.slice(from, from + chunkItems);
    statements.push(
      named(
        client,
        'chunk',
        `insert into bench.job_chunks (tenant_id, job_id, chunk_no, first_index, item_count, state, items)
        values ('default', $1, $2, $3, $4, 'pending', $5)`,
        [job, from / chunkItems, from, part.length, itemsOf(part, status)],
      ),
    );
  }
  statements.push(client.query('commit'));
  await Promise.all(statements);
}

async function applyChunk(
  client: pg.Client,
  job: string,
  chunkNo: number,
  ids: readonly string[],
  status: string,
): Promise<void> {
  void client.query('begin');
  void named(
    client,
    'claim',
    `select items from bench.job_chunks where tenant_id = 'default' and job_id = $1 and chunk_no = $2
    for update skip locked`,
    [job, chunkNo],
  );
  const versions = await lock(client, ids);
  await Promise.all([
    ...write(client, job, ids, versions, status),
    named(
      client,
      'chunk_end',
      `update bench.job_chunks set state = 'done', succeeded = $3, results = $4
      where tenant_id = 'default' and job_id = $1 and chunk_no = $2`,
      [job, chunkNo, ids.length, resultsOf(ids)],
    ),
    named(
      client,
      'count',
      `update bench.jobs set succeeded = succeeded + $2,
        status = case when succeeded + $2 = total then 'completed' else 'running' end,
        completed_at = case when succeeded + $2 = total then now() end
      where tenant_id = 'default' and job_id = $1`,
      [job, ids.length],
    ),
    client.query('commit'),
  ]);
}

async function lock(client: pg.Client, ids: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await named(
    client,
    'lock',
    `select case_id, version, created_at, updated_at, case_type, title, status, priority,
    assignee, data from bench.cases where tenant_id = 'default' and case_id = any($1::text[]) order by case_id for update`,
    [ids],
  );
  return new Map(rows.map((row) => [row.case_id, row.version + 1]));
}

function write(
  client: pg.Client,
  job: string,
  ids: readonly string[],
  versions: ReadonlyMap<string, number>,
  status: string,
) {
  const next = ids.map((id) => versions.get(id));
  return [
    named(
      client,
      'update',
      `update bench.cases c set status = u.status, version = u.version, updated_at = now()
      from unnest($1::text[], $2::int[], $3::text[]) as u(id, version, status)
      where c.tenant_id = 'default' and c.case_id = u.id`,
      [ids, next, ids.map(() => status)],
    ),
    named(
      client,
      'changes',
      `insert into bench.changes (tenant_id, collection, record_id, version, job_id, item_index, actor, changed_at,
        before, after)
      select 'default', 'cases', u.id, u.version, $1::uuid, u.i, 'bench', now(), u.before, u.after
      from unnest($2::text[], $3::int[], $4::int[], $5::json[], $6::json[]) as u(id, version, i, before, after)`,
      [
        job,
        ids,
        next,
        ids.map((_, index) => index),
        ids.map(() => '{"status":"In Progress"}'),
        ids.map(() => JSON.stringify({ status })),
      ],
    ),
  ];
}
