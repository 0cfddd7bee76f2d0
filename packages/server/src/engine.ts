import { createEngine, type Engine } from '@docket/engine';
import type { FastifyBaseLogger } from 'fastify';
import { collections } from './collections/index.ts';
import type { Config } from './config.ts';
import type { WorkMetrics } from './http/metrics.ts';
import { recordEvents } from './webhooks/outbox.ts';

export interface EngineParts {
  config: Config;
  databaseUrl: string;
  logger: FastifyBaseLogger;
  metrics: WorkMetrics;
}

/** The engine as the configuration asks for it, over the built-in collections and those of the configuration. */
export function engineFor({ config, databaseUrl, logger, metrics }: EngineParts): Engine {
  const { collections: ownCollections, publicUrl, corsOrigins, webhookPorts, ...engineSettings } = config.settings;
  return createEngine({
    ...engineSettings,
    databaseUrl,
    logger,
    collections: [...collections, ...(ownCollections ?? [])],
    recordEffect: recordEvents,
    onDecided: (items) => metrics.countItems(items),
  });
}
