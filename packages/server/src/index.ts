/** The case-management server, to run or to build into another one. */
export { ApiKeys, createApiKey, ensureFirstKey, type NewApiKey, revokeApiKey } from './api-keys.ts';
export { type AppOptions, buildApp } from './app.ts';
export { collections } from './collections/index.ts';
export { type Config, ConfigError, readConfig, type Settings } from './config.ts';
export type { Api, Deps } from './http/api.ts';
export { createMetrics, type Metrics } from './http/metrics.ts';
export { describeApi } from './http/openapi.ts';
export { ApiError, type ProblemCode, problemCodes, problemKinds } from './http/problems.ts';
export { seedIncidents } from './incidents/seed.ts';
export { firstTenant, type RunningServer, startServer } from './server.ts';
export { Deliverer, type DelivererOptions } from './webhooks/deliverer.ts';
export { recordEvents } from './webhooks/outbox.ts';
