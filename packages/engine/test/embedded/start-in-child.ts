/** Starts an embedded PostgreSQL in the directory given, says so in one line of JSON, and keeps it until killed. */
import { startEmbeddedPostgres } from '@docket/engine/embedded';

const dataDir = process.argv[2] ?? '';
try {
  const postgres = await startEmbeddedPostgres({ dataDir });
  process.stdout.write(`${JSON.stringify({ url: postgres.url, takenOver: postgres.takenOver })}\n`);
  process.once('SIGTERM', () => void postgres.stop());
} catch (error) {
  const { name, message } = error as Error;
  process.stdout.write(`${JSON.stringify({ error: { name, message } })}\n`);
}
