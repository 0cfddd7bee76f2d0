/** PostgreSQL in a data directory: a real server from npm packages, for one Docket process on one machine. */

export {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  type FoundPostgres,
  findEmbeddedPostgres,
  startEmbeddedPostgres,
} from './embedded-postgres.ts';
export { DataDirectoryInUseError, EmbeddedPostgresError } from './errors.ts';
