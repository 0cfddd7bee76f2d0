import { hash, randomBytes } from 'node:crypto';
import { type Caller, type Database, type Pool, sql } from '@docket/engine';
import { LRUCache } from 'lru-cache';
import { v7 as newUuid } from 'uuid';

export interface NewApiKey {
  tenantId: string;
  /** Recorded as the actor of what is done with the key. */
  name: string;
  expiresAt?: Date;
  /** A key chosen by the operator; otherwise one of 256 random bits is made. */
  key?: string;
}

export const shortestKey = 16;
const longestKey = 512;

function hashOf(key: string): string {
  return hash('sha256', key, 'hex');
}

/** Adds a key and its tenant, where that is new. The key is in the answer and nowhere else: only its hash is stored. */
export async function createApiKey(db: Database, input: NewApiKey): Promise<{ keyId: string; key: string }> {
  const key = input.key ?? `dk_${randomBytes(32).toString('base64url')}`;
  if (key.length < shortestKey || key.length > longestKey) {
    throw new RangeError(
      `An API key must have ${shortestKey} to ${longestKey} characters; this one has ${key.length}.`,
    );
  }
  const keyId = newUuid();
  await db.query(sql`insert into docket.tenants (tenant_id) values (${input.tenantId}) on conflict do nothing`);
  await db.query(sql`
    insert into docket.api_keys (tenant_id, key_id, name, key_hash, hint, expires_at)
    values (${input.tenantId}, ${keyId}, ${input.name}, decode(${hashOf(key)}, 'hex'), ${key.slice(-4)},
      ${input.expiresAt?.toISOString() ?? null}::timestamptz)`);
  return { keyId, key };
}

/** Takes a key out of force, in every process within five seconds. False when there is no such key in force. */
export async function revokeApiKey(
  db: Database,
  { tenantId, keyId }: { tenantId: string; keyId: string },
): Promise<boolean> {
  const { rowCount } = await db.query(sql`
    update docket.api_keys set revoked_at = now()
    where tenant_id = ${tenantId} and key_id = ${keyId} and revoked_at is null`);
  return rowCount === 1;
}

/** A key as it may be shown: without the key itself. */
export interface ApiKeyEntry {
  keyId: string;
  name: string;
  /** The last characters of the key. */
  hint: string;
  state: 'in force' | 'expired' | 'revoked';
  createdAt: string;
  expiresAt: string | null;
}

/** All keys of a tenant, oldest first. */
export async function listApiKeys(db: Database, tenantId: string): Promise<ApiKeyEntry[]> {
  const { rows } = await db.query<{
    key_id: string;
    name: string;
    hint: string;
    state: ApiKeyEntry['state'];
    created_at: string;
    expires_at: string | null;
  }>(sql`
    select key_id, name, hint, created_at, expires_at,
      case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'in force' end as state
    from docket.api_keys where tenant_id = ${tenantId} order by key_id`);
  return rows.map((row) => ({
    keyId: row.key_id,
    name: row.name,
    hint: row.hint,
    state: row.state,
    createdAt: new Date(row.created_at).toISOString(),
    expiresAt: row.expires_at === null ? null : new Date(row.expires_at).toISOString(),
  }));
}

/**
 * Makes sure that there is a first key: the given one, or else a new one if the tenant has none yet. Answers the key only when
 * it has just been made up. Safe when many processes start at once.
 */
export async function ensureFirstKey(
  pool: Pool,
  tenantId: string,
  given: string | undefined,
): Promise<string | undefined> {
  return await pool.transaction(async (tx) => {
    await tx.query(sql`insert into docket.tenants (tenant_id) values (${tenantId}) on conflict do nothing`);
    await tx.query(sql`select tenant_id from docket.tenants where tenant_id = ${tenantId} for update`);
    const { rows } = await tx.query<{ is_given: boolean }>(sql`
      select key_hash = decode(${hashOf(given ?? '')}, 'hex') as is_given from docket.api_keys where tenant_id = ${tenantId}`);
    const present = given === undefined ? rows.length > 0 : rows.some((row) => row.is_given);
    if (present) return undefined;
    const { key } = await createApiKey(tx, { tenantId, name: 'admin', ...(given === undefined ? {} : { key: given }) });
    return given === undefined ? key : undefined;
  });
}

/** What a key in force stands for. */
interface Grant {
  caller: Caller;
  /** Milliseconds since the epoch. */
  expiresAt: number;
}

/** Five seconds at most, with a clock that is read twice a second. */
const cacheTime = { ttl: 4_500, ttlResolution: 500 };

/** Finds out who a key belongs to. Answers are remembered for five seconds at most, also that a key is unknown. */
export class ApiKeys {
  readonly #db: Database;
  readonly #grants = new LRUCache<string, Grant>({ max: 10_000, ...cacheTime });
  // why apart: keys that are made up cannot push real ones out
  readonly #unknown = new LRUCache<string, true>({ max: 10_000, ...cacheTime });
  // why: a client sends the same key with each request; hashing it again each time is a tenth of what else is done for it
  readonly #digests = new LRUCache<string, string>({ max: 1_000 });
  readonly #pending = new Map<string, Promise<Grant | undefined>>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The caller; null for a key that is not in force; a promise where the database must be asked. */
  identify(key: string): Caller | null | Promise<Caller | null> {
    if (key.length > longestKey) return null;
    const digest = this.#digestOf(key);
    const grant = this.#grants.get(digest);
    if (grant) return inForce(grant);
    if (this.#unknown.has(digest)) return null;
    return this.#find(digest).then((found) => (found ? inForce(found) : null));
  }

  #digestOf(key: string): string {
    let digest = this.#digests.get(key);
    if (digest === undefined) {
      digest = hashOf(key);
      this.#digests.set(key, digest);
    }
    return digest;
  }

  #find(digest: string): Promise<Grant | undefined> {
    let pending = this.#pending.get(digest);
    if (!pending) {
      pending = this.#load(digest).finally(() => this.#pending.delete(digest));
      this.#pending.set(digest, pending);
    }
    return pending;
  }

  async #load(digest: string): Promise<Grant | undefined> {
    const { rows } = await this.#db.query<{ tenant_id: string; name: string; expires_at: string | null }>(sql`
      select tenant_id, name, expires_at from docket.api_keys
      where key_hash = decode(${digest}, 'hex') and revoked_at is null`);
    const [row] = rows;
    if (!row) {
      this.#unknown.set(digest, true);
      return undefined;
    }
    const grant = {
      caller: Object.freeze({ tenantId: row.tenant_id, actor: row.name }),
      expiresAt: row.expires_at === null ? Number.POSITIVE_INFINITY : Date.parse(row.expires_at),
    };
    this.#grants.set(digest, grant);
    return grant;
  }
}

function inForce(grant: Grant): Caller | null {
  return grant.expiresAt > Date.now() ? grant.caller : null;
}
