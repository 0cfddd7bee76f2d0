import { randomBytes } from 'node:crypto';
import { verifyWebhook, WebhookVerificationError } from '@docket/client';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';

const secret = `whsec_${randomBytes(32).toString('base64')}`;
const other = `whsec_${randomBytes(24).toString('base64')}`;
const now = new Date('2026-05-04T09:12:31Z');
const event = { type: 'job.completed', timestamp: '2026-05-04T09:12:31Z', data: { jobId: 'job_1', label: 'Ä' } };
const payload = JSON.stringify(event);
const seconds = (date: Date) => String(Math.floor(date.getTime() / 1_000));

/** Headers as the public package signs them. */
function signed(body = payload, key = secret, at = now, id = 'msg_1') {
  return {
    'webhook-id': id,
    'webhook-timestamp': seconds(at),
    'webhook-signature': new Webhook(key).sign(id, at, body),
  };
}
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => 'accepted',
    (error: unknown) => (error instanceof WebhookVerificationError ? error.message : String(error)),
  );

describe('a webhook signed by the public package', () => {
  it('is accepted, whatever holds its body and headers', async () => {
    const headers = signed();
    await expect(verifyWebhook(payload, headers, secret, { now })).resolves.toEqual(event);
    await expect(
      verifyWebhook(new TextEncoder().encode(payload), new Headers(headers), secret, { now }),
    ).resolves.toEqual(event);
    const nodeHeaders = {
      'Webhook-Id': 'msg_1',
      'Webhook-Timestamp': [seconds(now)],
      'Webhook-Signature': headers['webhook-signature'],
    };
    await expect(verifyWebhook(payload, nodeHeaders, secret.replace('whsec_', ''), { now })).resolves.toEqual(event);
  });

  it('is accepted during a rotation, on either side of it', async () => {
    const both = {
      ...signed(),
      'webhook-signature': `${signed(payload, other)['webhook-signature']} v1a,x ${signed()['webhook-signature']}`,
    };
    await expect(verifyWebhook(payload, both, secret, { now })).resolves.toEqual(event);
    await expect(verifyWebhook(payload, signed(payload, other), [secret, other], { now })).resolves.toEqual(event);
  });

  it('is refused when anything that is signed differs', async () => {
    const headers = signed();
    const nothingFits = /No signature of the webhook fits/;
    expect(await refusal(verifyWebhook(`${payload} `, headers, secret, { now }))).toMatch(nothingFits);
    expect(await refusal(verifyWebhook(payload, { ...headers, 'webhook-id': 'msg_2' }, secret, { now }))).toMatch(
      nothingFits,
    );
    const later = { ...headers, 'webhook-timestamp': String(Number(seconds(now)) + 1) };
    expect(await refusal(verifyWebhook(payload, later, secret, { now }))).toMatch(nothingFits);
    expect(await refusal(verifyWebhook(payload, headers, other, { now }))).toMatch(nothingFits);
    const shortened = { ...headers, 'webhook-signature': headers['webhook-signature'].slice(0, -8) };
    expect(await refusal(verifyWebhook(payload, shortened, secret, { now }))).toMatch(nothingFits);
  });

  it('is refused when it is old or from the future', async () => {
    const at = (offset: number) => signed(payload, secret, new Date(now.getTime() + offset * 1_000));
    expect(await refusal(verifyWebhook(payload, at(-300), secret, { now }))).toBe('accepted');
    expect(await refusal(verifyWebhook(payload, at(-301), secret, { now }))).toMatch('301 s old; 300 s are allowed');
    expect(await refusal(verifyWebhook(payload, at(301), secret, { now }))).toMatch('301 s ahead');
    expect(await refusal(verifyWebhook(payload, at(-301), secret, { now, toleranceSeconds: 400 }))).toBe('accepted');
  });

  it('is refused when its headers are missing or none', async () => {
    for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature']) {
      const headers: Record<string, string> = { ...signed() };
      delete headers[name];
      expect(await refusal(verifyWebhook(payload, headers, secret, { now }))).toBe(
        `The webhook has no header ${name}.`,
      );
    }
    const wrongTime = { ...signed(), 'webhook-timestamp': 'now' };
    expect(await refusal(verifyWebhook(payload, wrongTime, secret, { now }))).toMatch('is no Unix time');
    const wrongVersion = { ...signed(), 'webhook-signature': 'v2,abc v1,%%%' };
    expect(await refusal(verifyWebhook(payload, wrongVersion, secret, { now }))).toMatch('no signature of version v1');
    expect(await refusal(verifyWebhook('no json', signed('no json'), secret, { now }))).toMatch('is no JSON');
    await expect(verifyWebhook(payload, signed(), 'whsec_', { now })).rejects.toThrow(TypeError);
  });
});
