import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Database } from '@docket/engine';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '@docket/engine/embedded';
import type pg from 'pg';
import { Wire } from '../../../../test/wire.ts';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { createApiKey } from '../../src/api-keys.ts';
import { type Call, callerOf } from '../call.ts';
import { adminKey, type ServerProcess, ServerProcesses } from '../server-processes.ts';

const run = promisify(execFile);
const diskBytes = 384 * 1024 * 1024;
const smallDatabase = { max_connections: '150', shared_buffers: '64MB', min_wal_size: '32MB', max_wal_size: '64MB' };
const settings = 'export default { workers: 2 };';

export type Role = 'api' | 'worker';

/** A process of the cluster, or its place while it is dead. */
export interface Member {
  role: Role;
  server: ServerProcess | undefined;
}

export interface Tenant {
  id: string;
  key: string;
}

/** Several api and worker processes on one database, with a wire in between: everything that can break, within reach. */
export class Cluster {
  readonly members: Member[] = [];
  readonly tenants: Tenant[] = [{ id: 'default', key: adminKey }];
  readonly #processes = new ServerProcesses();
  readonly #cleanups: (() => Promise<unknown>)[] = [];
  /** Statements past the wire. */
  sql!: pg.Pool;
  wire!: Wire;
  #directory!: string;
  #postgres!: EmbeddedPostgres;
  /** Whether the database has a small disk of its own, which can be filled. */
  hasOwnDisk = false;

  async start(counts: Record<Role, number>): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'docket-faults-'));
    this.#cleanups.push(() => rm(this.#directory, { recursive: true, force: true, maxRetries: 5 }));
    await this.#mountDisk();
    this.#postgres = await startEmbeddedPostgres({
      dataDir: join(this.#directory, 'data'),
      postgresFlags: Object.entries(smallDatabase).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    });
    this.#cleanups.push(() => this.#postgres.stop());
    this.sql = this.#processes.sql(this.#postgres.url);
    this.wire = new Wire(this.#postgres.url);
    await this.wire.connect();
    this.#cleanups.push(() => this.wire.cut());
    await writeFile(join(await this.#processes.directory(), 'docket.config.ts'), settings);
    for (const role of ['api', 'worker'] as const) {
      for (let n = 0; n < counts[role]; n++) this.members.push({ role, server: undefined });
    }
    await this.startDead();
    const db: Database = {
      query: async ({ text, values }) => {
        const { rows, rowCount } = await this.sql.query(text, values as unknown[]);
        return { rows: rows as never[], rowCount: rowCount ?? 0 };
      },
    };
    const { key } = await createApiKey(db, { tenantId: 'second', name: 'test' });
    this.tenants.push({ id: 'second', key });
  }

  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const clean of [() => this.#processes.clear(), ...this.#cleanups.toReversed()]) {
      await clean().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, 'Not all could be cleaned up.');
  }

  living(role: Role): ServerProcess[] {
    return this.members.flatMap(({ role: own, server }) => (own === role && server ? [server] : []));
  }

  /** Calls an api process that lives. */
  callAs({ key }: Tenant): Call {
    return callerOf((this.living('api')[0] as ServerProcess).url, key);
  }

  /** Starts the processes that are dead, all at once. */
  async startDead(): Promise<void> {
    await Promise.all(this.members.map((member) => member.server === undefined && this.#startMember(member)));
  }

  /** Ends a process: at once, or in good order. */
  async end(member: Member, how: 'kill' | 'stop'): Promise<void> {
    const { server } = member;
    member.server = undefined;
    if (how === 'kill') return await server?.kill();
    const code = await server?.stop();
    if (code !== 0) throw new Error(`A server ended with ${code}.\n${server?.output()}`);
  }

  async #startMember(member: Member): Promise<void> {
    member.server = await this.#processes.start({
      DATABASE_URL: this.wire.url,
      DOCKET_ADMIN_KEY: adminKey,
      DOCKET_ROLES: member.role,
    });
  }

  /** Stops PostgreSQL as `pg_ctl stop -m immediate` does, and resolves when it serves again. */
  async crashDatabase(): Promise<void> {
    const { rows } = await this.sql.query("select pg_read_file('postmaster.pid') as lock");
    process.kill(Number(rows[0].lock.split('\n')[0]), 'SIGQUIT');
    await waitUntil(async () => !(await this.answers()), 'PostgreSQL has stopped');
    await waitUntil(() => this.answers(), 'PostgreSQL is back', 30_000);
  }

  /** Whether the database takes writes, seen from beside the wire. */
  async answers(): Promise<boolean> {
    return await this.sql.query('create temporary table written on commit drop as select 1').then(
      () => true,
      () => false,
    );
  }

  /** Leaves no room on the disk of the database; to be repeated, as the database itself makes room from time to time. */
  async fillDisk(): Promise<void> {
    const file = await open(join(this.#directory, 'ballast'), 'a');
    try {
      for (let bytes = 4 * 1024 * 1024; bytes >= 4_096; ) {
        const full = await file.write(Buffer.alloc(bytes)).then(
          ({ bytesWritten }) => bytesWritten < bytes,
          () => true,
        );
        if (full) bytes /= 2;
      }
    } finally {
      await file.close();
    }
  }

  async freeDisk(): Promise<void> {
    await rm(join(this.#directory, 'ballast'));
  }

  async #mountDisk(): Promise<void> {
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},mode=711`, 'docket-faults', this.#directory]);
    } catch {
      return;
    }
    this.hasOwnDisk = true;
    this.#cleanups.push(() => run('umount', [this.#directory]));
  }
}

/** Whether this machine lets us make a small file system. */
export async function canMount(): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'docket-mount-'));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'docket-mount', directory]);
    await run('umount', [directory]);
    return true;
  } catch {
    return false;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
