import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';

/** Bytes of a key that seals: AES-256. */
export const sealKeyBytes = 32;
const algorithm = 'aes-256-gcm';
const version = 'v1';
const nonceBytes = 12;
const tagBytes = 16;

/** Whose secret it is; one sealed for somebody else cannot be opened. */
interface Owner {
  tenantId: string;
  endpointId: string;
}

/** A secret that none of the keys opens. The message is for whoever owns the endpoint. */
export class SecretSealed extends Error {
  override readonly name = 'SecretSealed';
}

/**
 * The secrets of webhooks as the table holds them: sealed with AES-256-GCM by a key that is not in the database, `v1.<key>.<base64>`;
 * or plain, where there is no key. The first key seals, each of them opens, and what is plain stays readable.
 */
export class SealedSecrets {
  readonly #keys: ReadonlyMap<string, Buffer>;
  readonly #first: string | undefined;

  constructor(keys: readonly Buffer[] = []) {
    this.#keys = new Map(keys.map((key) => [hash('sha256', key, 'hex').slice(0, 8), key]));
    [this.#first] = this.#keys.keys();
  }

  /** Whether there is a key to seal with. */
  get seals(): boolean {
    return this.#first !== undefined;
  }

  seal(secret: string, owner: Owner): string {
    const key = this.#first === undefined ? undefined : this.#keys.get(this.#first);
    if (!key) return secret;
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagBytes }).setAAD(ownerBytes(owner));
    const sealed = Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return `${version}.${this.#first}.${sealed.toString('base64')}`;
  }

  /** Throws SecretSealed. */
  open(stored: string, owner: Owner): string {
    const [, id, text] = /^v1\.([0-9a-f]{8})\.(.+)$/.exec(stored) ?? [];
    if (id === undefined || text === undefined) return stored;
    const key = this.#keys.get(id);
    if (!key) throw new SecretSealed(`The secret to sign with is sealed by the key ${id}, which this server has not.`);
    const sealed = Buffer.from(text, 'base64');
    try {
      const cipher = createDecipheriv(algorithm, key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes });
      cipher.setAAD(ownerBytes(owner)).setAuthTag(sealed.subarray(-tagBytes));
      const opened = cipher.update(sealed.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([opened, cipher.final()]).toString('utf8');
    } catch {
      throw new SecretSealed('The secret to sign with is damaged. Make a new one.');
    }
  }

  /** The same, sealed by the first key; as it is where that is so already, or no key opens it. */
  renew(stored: string, owner: Owner): string {
    if (this.#first === undefined || stored.startsWith(`${version}.${this.#first}.`)) return stored;
    try {
      return this.seal(this.open(stored, owner), owner);
    } catch (error) {
      if (error instanceof SecretSealed) return stored;
      throw error;
    }
  }
}

function ownerBytes({ tenantId, endpointId }: Owner): Buffer {
  return Buffer.from(JSON.stringify([tenantId, endpointId]));
}
