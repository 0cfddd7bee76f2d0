import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import Fastify from 'fastify';
import type { Api } from './api.ts';

interface Asset {
  type: string;
  etag: string;
  plain: string;
  gzip: Buffer;
}

/** What the page may load: nothing but what this server sends. */
const policy = [
  "default-src 'none'",
  "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "worker-src 'self' blob:",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/** Serves the live reference at /docs. It works offline: its one script comes from here, and the page may load nothing else. */
export function registerReference(app: Api): void {
  // why on first demand: loading the reference takes longer than the rest of the start, and most processes never show it
  let assets: Promise<Map<string, Asset>> | undefined;
  const load = () => {
    assets ??= loadAssets();
    return assets;
  };
  for (const path of ['/docs', '/docs/js/scalar.js']) {
    app.get(path, { schema: { hide: true } }, async (request, reply) => {
      const asset = (await load()).get(path) as Asset;
      reply.header('etag', asset.etag).header('cache-control', 'no-cache').header('vary', 'accept-encoding');
      reply.header('content-security-policy', policy).header('x-content-type-options', 'nosniff');
      if (request.headers['if-none-match'] === asset.etag) return reply.code(304).send();
      reply.type(asset.type);
      if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return reply.send(asset.plain);
      return reply.header('content-encoding', 'gzip').send(asset.gzip);
    });
  }
  app.get('/docs/', { schema: { hide: true } }, (_request, reply) => reply.redirect('/docs'));
}

async function loadAssets(): Promise<Map<string, Asset>> {
  const { default: scalar } = await import('@scalar/fastify-api-reference');
  // why a server within the server: the plugin is the only door to the page and the script, and it wants to register routes
  const inner = Fastify();
  await inner.register(scalar, {
    routePrefix: '/docs',
    configuration: {
      url: '/openapi.json',
      cdn: '/docs/js/scalar.js',
      pageTitle: 'Docket · Reference',
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      showDeveloperTools: 'never',
      persistAuth: true,
      agent: { disabled: true },
      mcp: { disabled: true },
      authentication: { preferredSecurityScheme: 'bearer' },
    },
  });
  const assets = new Map<string, Asset>();
  for (const [path, source] of [
    ['/docs', '/docs/'],
    ['/docs/js/scalar.js', '/docs/js/scalar.js'],
  ] as const) {
    const { body, headers } = await inner.inject({ url: source });
    assets.set(path, {
      type: String(headers['content-type']),
      etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
      plain: body,
      gzip: await promisify(gzip)(body),
    });
  }
  await inner.close();
  return assets;
}
