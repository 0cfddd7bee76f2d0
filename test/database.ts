import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

/** A new, empty database on the server of this run. Drop it when done. */
export async function createDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const base = inject('databaseUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await onServer(base, `create database ${name}`);
  const url = new URL(base);
  url.pathname = `/${name}`;
  const drop = async () => {
    // why not by force at once: connections that are just being closed would be told, with nobody left to hear it
    const closed = await onServer(base, `drop database ${name}`).catch(() => 'still in use');
    if (closed === 'still in use') await onServer(base, `drop database if exists ${name} with (force)`);
  };
  return { url: url.href, drop };
}

async function onServer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
