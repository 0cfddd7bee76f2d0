/** The embedded PostgreSQL could not be prepared, started or stopped; the message says why and what to do. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError';
}

/** Another living process owns the data directory. Nothing was changed. */
export class DataDirectoryInUseError extends EmbeddedPostgresError {
  override name = 'DataDirectoryInUseError';
  readonly dataDir: string;
  /** The process that owns the directory; undefined when PostgreSQL could not tell. */
  readonly ownerPid: number | undefined;

  constructor(dataDir: string, ownerPid: number | undefined) {
    const owner = ownerPid === undefined ? 'another process' : `process ${ownerPid}`;
    super(
      `The data directory ${dataDir} is in use by ${owner}. Stop that process, or choose another directory with ` +
        'DOCKET_DATA_DIR, or set DATABASE_URL to a PostgreSQL server to run several processes on one database.',
    );
    this.dataDir = dataDir;
    this.ownerPid = ownerPid;
  }
}

/** The server went away, or was not there yet, while it was talked to; another attempt may succeed. */
export class ServerLostError extends EmbeddedPostgresError {
  override name = 'ServerLostError';
}

/** The code of a system or PostgreSQL error (`ENOENT`, `57P03`), if it has one. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** The message of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
