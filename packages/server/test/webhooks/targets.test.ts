import { describe, expect, it } from 'vitest';
import { attemptDelivery } from '../../src/webhooks/attempt.ts';
import { checkUrl, defaultPolicy, resolveTarget, TargetRefused } from '../../src/webhooks/targets.ts';
import { startReceiver } from './receiver.ts';

const notPublic: [string, ...string[]][] = [
  ['this network', '0.0.0.0', '0.1.2.3'],
  ['loopback', '127.0.0.1', '127.255.255.254', '::1'],
  ['private', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
  ['carrier-grade NAT', '100.64.0.1', '100.127.255.255'],
  ['link-local', '169.254.1.1', 'fe80::1', 'febf::1'],
  ['metadata services', '169.254.169.254', '100.100.100.200', '192.0.0.192', '168.63.129.16', 'fd00:ec2::254'],
  ['unique local', 'fc00::1', 'fdff:ffff::1'],
  ['site-local', 'fec0::1'],
  ['multicast', '224.0.0.1', '239.255.255.255', 'ff02::1'],
  ['broadcast and reserved', '255.255.255.255', '240.0.0.1', '192.0.0.1'],
  ['documentation', '192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1'],
  ['benchmarks', '198.18.0.1', '198.19.255.255', '2001:2::1'],
  ['unspecified', '::'],
  ['IPv4 within IPv6', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '::ffff:0:127.0.0.1'],
  ['NAT64 to what is not public', '64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '64:ff9b:1::808:808'],
  ['tunnels', '2002:7f00:1::', '2001::1'],
  ['discard and the rest', '100::1', '100:0:0:1::1', '5f00::1', '4000::1'],
];
const open = [
  '8.8.8.8',
  '1.1.1.1',
  '172.32.0.1',
  '100.128.0.1',
  '2606:4700:4700::1111',
  '2a00:1450:4001::1',
  '64:ff9b::808:808',
];

const named = (addresses: readonly string[]) => async () =>
  addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
const { signal } = new AbortController();
const resolving = (addresses: readonly string[]) =>
  resolveTarget(new URL('https://hooks.example.com/'), defaultPolicy, { resolve: named(addresses), signal });
const literal = (address: string) => `https://${address.includes(':') ? `[${address}]` : address}/`;

describe('addresses', () => {
  it.each(notPublic)('%s: refused, as a literal and behind a name', async (_, ...addresses) => {
    for (const address of addresses) {
      expect(() => checkUrl(literal(address), defaultPolicy), address).toThrow(TargetRefused);
      await expect(resolving([address]), address).rejects.toThrow(TargetRefused);
    }
  });

  it('are refused when one of several is not public', async () => {
    await expect(resolving(['8.8.8.8', '127.0.0.1'])).rejects.toThrow('127.0.0.1 (loopback)');
    await expect(resolving([])).rejects.toThrow('has no address');
  });

  it.each(open)('%s is public', async (address) => {
    expect(checkUrl(literal(address), defaultPolicy).protocol).toBe('https:');
    expect(await resolving([address])).toHaveLength(1);
  });

  it.each([
    'http://2130706433/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://127.1/',
    'http://①②⑦.0.0.1/',
    'http://[::ffff:7f00:1]/',
  ])('%s is loopback in disguise', (url) => expect(() => checkUrl(url, defaultPolicy)).toThrow(TargetRefused));

  it('may be private where the configuration says so', async () => {
    const policy = { ...defaultPolicy, allowPrivate: true };
    expect(checkUrl('http://127.0.0.1:8123/hook', policy).port).toBe('8123');
    expect(await resolveTarget(new URL('http://[::1]/'), policy, { resolve: named([]), signal })).toEqual([
      { address: '::1', family: 6 },
    ]);
  });
});

it.each([
  ['hooks.example.com', 'no absolute URL'],
  ['ftp://example.com/', 'scheme is "ftp"'],
  ['file:///etc/passwd', 'scheme is "file"'],
  ['https://me:secret@example.com/', 'user or a password'],
  ['https://example.com/#part', 'fragment'],
  ['https://example.com:8443/', 'port is 8443; this server sends to 80, 443'],
  ['http://example.com:22/', 'port is 22'],
])('%s is refused', (url, reason) => {
  expect(() => checkUrl(url, defaultPolicy)).toThrow(reason);
});

const delivery = (url: string) => ({ url, headers: {}, body: '{}' });

it('a name whose address changes after the check is not asked for again', async () => {
  const receiver = await startReceiver();
  const port = new URL(receiver.url).port;
  const answers = [['203.0.113.1'], ['127.0.0.1']];
  let asked = 0;
  const rebinding = async () => named(answers[asked++] ?? ['127.0.0.1'])();
  // why this name: the connection arrives at the receiver if the system is asked for it again
  const policy = { allowPrivate: true, ports: [] };
  const outcome = await attemptDelivery(
    delivery(`http://localhost:${port}/hook`),
    { policy, resolve: rebinding, timeoutMs: 200 },
    signal,
  );
  expect([asked, receiver.received.length, outcome.status]).toEqual([1, 0, null]);
  const second = await attemptDelivery(
    delivery('http://localhost/hook'),
    { policy: { allowPrivate: false, ports: [80] }, resolve: rebinding, timeoutMs: 1_000 },
    signal,
  );
  expect(second.error).toContain('It leads to the address 127.0.0.1 (loopback)');
  expect(receiver.received).toEqual([]);
  await receiver.stop();
});

it('a name server that never answers costs no more than the time of an attempt', async () => {
  const resolve = () => new Promise<never>(() => {});
  const outcome = await attemptDelivery(
    delivery('http://silent.example/'),
    { policy: defaultPolicy, resolve, timeoutMs: 50 },
    signal,
  );
  expect(outcome).toMatchObject({ status: null, error: 'There was no answer within 0.05 s.' });
});
