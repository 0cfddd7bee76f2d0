import { promises as dns, type LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Config } from '../config.ts';

/** Where webhooks may go. */
export interface TargetPolicy {
  /** Also to loopback, private and all other addresses, on any port. For development: whoever may add an endpoint can then reach them. */
  allowPrivate: boolean;
  ports: readonly number[];
}

export const defaultPolicy: TargetPolicy = { allowPrivate: false, ports: [80, 443] };

/** As the configuration has it. */
export function targetPolicy({
  webhooksAllowPrivate,
  settings,
}: Pick<Config, 'webhooksAllowPrivate' | 'settings'>): TargetPolicy {
  return { allowPrivate: webhooksAllowPrivate, ports: settings.webhookPorts ?? defaultPolicy.ports };
}

/** Addresses of a host name. Must not outlive the signal. */
export type Resolve = (hostname: string, signal: AbortSignal) => Promise<LookupAddress[]>;

/** A URL that a webhook may not be sent to. The message says why, in words for its owner. */
export class TargetRefused extends Error {
  override readonly name = 'TargetRefused';
}

/** What can be told from the URL alone; where its name leads is looked at before each attempt. Throws TargetRefused. */
export function checkUrl(text: string, { allowPrivate, ports }: TargetPolicy): URL {
  if (!URL.canParse(text)) throw new TargetRefused('It is no absolute URL, such as https://example.com/hooks.');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new TargetRefused(`Its scheme is "${url.protocol.slice(0, -1)}"; it must be https or http.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new TargetRefused('It holds a user or a password; deliveries are signed instead.');
  }
  if (url.hash !== '') throw new TargetRefused('It has a fragment, which would not be sent.');
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  if (!allowPrivate && !ports.includes(port)) {
    throw new TargetRefused(`Its port is ${port}; this server sends to ${ports.join(', ')}.`);
  }
  const host = hostOf(url);
  if (isIP(host) && !allowPrivate) checkAddress(host);
  return url;
}

/** A host without the brackets of IPv6. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}

/**
 * The addresses to connect to. All that the name leads to are checked, and the connection must be made to these, without asking
 * for the name again: what it leads to may have changed by then. Throws TargetRefused; fails as `resolve` does.
 */
export async function resolveTarget(
  url: URL,
  policy: TargetPolicy,
  { resolve, signal }: { resolve: Resolve; signal: AbortSignal },
): Promise<LookupAddress[]> {
  const host = hostOf(url);
  const version = isIP(host);
  const addresses = version ? [{ address: host, family: version }] : await resolve(host, signal);
  if (addresses.length === 0) throw new Error(`the name ${host} has no address`);
  if (!policy.allowPrivate) for (const { address } of addresses) checkAddress(address);
  return addresses;
}

/** Only addresses of the public internet pass: none that the registries of special-purpose addresses (RFC 6890) list. Throws TargetRefused. */
function checkAddress(address: string): void {
  const range = rangeOf(ipaddr.parse(address));
  if (range === 'unicast') return;
  throw new TargetRefused(`It leads to the address ${address} (${range}), which is not public.`);
}

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3');
const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96');
/** Of Azure: the only metadata service at an address that looks public. */
const metadataAddress = '168.63.129.16';

function rangeOf(address: ipaddr.IPv4 | ipaddr.IPv6): string {
  const range = address.range();
  if (address instanceof ipaddr.IPv4) return address.toString() === metadataAddress ? 'metadata' : range;
  // why: a network without IPv4 reaches all of it through such addresses (RFC 6052)
  if (address.match(nat64)) return rangeOf(new ipaddr.IPv4(address.toByteArray().slice(12)));
  return range === 'unicast' && !address.match(globalUnicast) ? 'unassigned' : range;
}

/**
 * Asks the name servers themselves, so that one that does not answer holds up nobody else: the system's own way takes one of a
 * few threads. What they do not know may still be in the hosts file or a search domain.
 */
export const resolveName: Resolve = async (hostname, signal) => {
  const resolver = new dns.Resolver({ timeout: 4_000, tries: 2 });
  const cancel = () => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const [v4, v6] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const found = [
      ...(v4.status === 'fulfilled' ? v4.value.map((address) => ({ address, family: 4 })) : []),
      ...(v6.status === 'fulfilled' ? v6.value.map((address) => ({ address, family: 6 })) : []),
    ];
    signal.throwIfAborted();
    if (found.length > 0) return found;
    const failure = v4.status === 'rejected' ? (v4.reason as NodeJS.ErrnoException) : undefined;
    if (failure?.code === 'ETIMEOUT') throw failure;
    return await dns.lookup(hostname, { all: true });
  } finally {
    signal.removeEventListener('abort', cancel);
  }
};
