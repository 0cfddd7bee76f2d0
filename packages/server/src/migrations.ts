import { fileURLToPath } from 'node:url';
import type { MigrationSet } from '@docket/engine';

/** The server's own migrations, which come behind the engine's. */
export const migrations: MigrationSet = {
  name: 'docket',
  directory: fileURLToPath(new URL('../migrations', import.meta.url)),
};
