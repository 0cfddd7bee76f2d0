import { randomBytes } from 'node:crypto';
import { sql } from '@docket/engine';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { waitUntil } from '../../../engine/test/wait-until.ts';
import { sealSecrets } from '../../src/webhooks/endpoint-store.ts';
import { SealedSecrets, SecretSealed } from '../../src/webhooks/sealed-secrets.ts';
import { createCases } from '../served.ts';
import { serveDelivering } from './delivering.ts';
import type { Received } from './receiver.ts';

const owner = { tenantId: 'default', endpointId: '01a1ff42-90f5-748d-9939-dc4d2294d5dd' };
const [one, two] = [randomBytes(32), randomBytes(32)];

describe('a sealed secret', () => {
  it('is opened by its key alone, and says which that is', () => {
    const sealed = new SealedSecrets([one]).seal('whsec_abc', owner);
    expect(sealed).toMatch(/^v1\.[0-9a-f]{8}\.[\w+/=]+$/);
    expect(sealed).not.toBe(new SealedSecrets([one]).seal('whsec_abc', owner));
    for (const keys of [[one], [two, one]]) expect(new SealedSecrets(keys).open(sealed, owner)).toBe('whsec_abc');
    for (const keys of [[], [two]])
      expect(() => new SealedSecrets(keys).open(sealed, owner)).toThrow(/sealed by the key/);
  });

  it('is of no use in the row of somebody else, or changed', () => {
    const secrets = new SealedSecrets([one]);
    const sealed = secrets.seal('whsec_abc', owner);
    for (const other of [
      { ...owner, tenantId: 'other' },
      { ...owner, endpointId: owner.endpointId.replace('0', '1') },
    ])
      expect(() => secrets.open(sealed, other)).toThrow(SecretSealed);
    expect(() => secrets.open(`${sealed.slice(0, -6)}AAAAAA`, owner)).toThrow(/damaged/);
    expect(() => secrets.open(`${sealed.slice(0, 12)}AAAA`, owner)).toThrow(/damaged/);
  });

  it('is plain without a key, and renewed by the first one', () => {
    expect(new SealedSecrets().seal('whsec_abc', owner)).toBe('whsec_abc');
    const first = new SealedSecrets([one]).renew('whsec_abc', owner);
    const second = new SealedSecrets([two, one]).renew(first, owner);
    expect(new SealedSecrets([two]).open(second, owner)).toBe('whsec_abc');
    expect(new SealedSecrets([two, one]).renew(second, owner)).toBe(second);
    expect(new SealedSecrets([two]).renew(first, owner)).toBe(first);
  });
});

it('no secret stands in the table as it is, and deliveries are signed by it', async () => {
  const webhookSecrets = new SealedSecrets([one]);
  const docket = await serveDelivering({ webhookSecrets });
  onTestFinished(docket.stop);
  docket.deliverer();
  const receiver = await docket.receiver();
  const { webhookId, secret: first } = await docket.subscribe(receiver.url);
  const { secret } = (await docket.call('POST', `/api/v1/webhooks/${webhookId}/rotate`)).body;
  const { secret: ofCallbacks } = (await docket.call('POST', '/api/v1/webhooks/callbacks/rotate')).body;
  await docket.call('POST', '/api/v1/cases', { caseId: 'A', title: 'A' });
  const items = [{ caseId: 'A', title: 'B' }];
  await docket.call('POST', '/api/v1/cases/bulk-update', {
    items,
    options: { callbackUrl: `${receiver.url}/callback` },
  });
  await waitUntil(() => receiver.received.length === 3, 'all have come');
  for (const { path, body, headers } of receiver.received) {
    const signing = path.endsWith('/callback') ? [ofCallbacks] : [first, secret];
    for (const each of signing) new Webhook(each).verify(body, headers as Record<string, string>);
  }
  expect(await dump()).not.toContain('whsec_');

  async function dump(): Promise<string> {
    const { rows } = await docket.engine.pool.query(sql`select * from docket.webhook_endpoints`);
    return JSON.stringify(rows);
  }
});

it('what was plain is sealed once there is a key, and a delivery without the key fails visibly until it is back', async () => {
  const docket = await serveDelivering({ delays: [3_600] });
  onTestFinished(docket.stop);
  const receiver = await docket.receiver();
  const { webhookId, secret } = await docket.subscribe(receiver.url);
  const { pool } = docket.engine;
  await sealSecrets(pool, new SealedSecrets());
  expect((await stored()).secret).toBe(secret);
  await sealSecrets(pool, new SealedSecrets([one]));
  await docket.call('POST', `/api/v1/webhooks/${webhookId}/rotate`);
  await sealSecrets(pool, new SealedSecrets([two, one]));
  const { secret: rotated, old_secret: old } = await stored();
  expect([rotated, old].join()).not.toContain('whsec_');

  const without = docket.deliverer({ secrets: new SealedSecrets([one]) });
  await createCases(docket, ['A']);
  await waitUntil(async () => (await docket.deliveries(webhookId))[0]?.attempts.length === 1, 'it was attempted');
  const [delivery] = await docket.deliveries(webhookId);
  expect(delivery.attempts[0]).toMatchObject({
    responseStatus: null,
    error: expect.stringMatching(/this server has not/),
  });
  expect(receiver.received).toEqual([]);
  await without.stop();

  docket.deliverer({ secrets: new SealedSecrets([two]) });
  await docket.call('POST', `/api/v1/webhooks/${webhookId}/deliveries/${delivery.deliveryId}/resend`);
  await waitUntil(() => receiver.received.length === 1, 'it has come');
  const [{ body, headers }] = receiver.received as [Received];
  new Webhook(secret).verify(body, headers as Record<string, string>);

  async function stored() {
    const { rows } = await pool.query<{ secret: string; old_secret: string | null }>(
      sql`select secret, old_secret from docket.webhook_endpoints`,
    );
    return rows[0] as { secret: string; old_secret: string | null };
  }
});
