import { EventEmitter } from 'node:events';
import type pg from 'pg';
import { Client } from '../storage/client.ts';
import type { EngineLogger } from './engine.ts';

const ownChannels = ['docket_runnable', 'docket_job_progress', 'docket_job_ended'] as const;
const heartbeatMs = 10_000;
export type Channel = (typeof ownChannels)[number];

/**
 * What happens in the database, heard on one connection per process. A notification may be lost while that connection is
 * down: after each reconnection `resync` is emitted, and whoever waits looks for itself. Nothing relies on being notified, only
 * on being notified soon.
 */
export class Live {
  readonly #url: string;
  readonly #logger: EngineLogger;
  readonly #events = new EventEmitter();
  readonly #channels = new Set<string>(ownChannels);
  #client: pg.Client | undefined;
  #stopped = true;
  #retry: NodeJS.Timeout | undefined;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(url: string, logger: EngineLogger) {
    this.#url = url;
    this.#logger = logger;
    this.#events.setMaxListeners(0);
  }

  /** Calls back with the payload of each notification. Gives back the function that ends it. */
  on(channel: Channel | 'resync', listener: (payload: string) => void): () => void {
    this.#events.on(channel, listener);
    return () => this.#events.off(channel, listener);
  }

  /** Calls back after each notification on a channel that is not the engine's, and after each reconnection. */
  onOther(channel: string, listener: () => void): () => void {
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(channel))
      throw new TypeError(`The channel "${channel}" must be 1 to 63 of a-z, 0-9 and _.`);
    if (!this.#channels.has(channel)) {
      this.#channels.add(channel);
      this.#client?.query(`listen ${channel}`).catch(() => undefined);
    }
    this.#events.on(channel, listener).on('resync', listener);
    return () => void this.#events.off(channel, listener).off('resync', listener);
  }

  async start(): Promise<void> {
    if (!this.#stopped) return;
    this.#stopped = false;
    await this.#connect();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    clearInterval(this.#heartbeat);
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const client = new Client({
      connectionString: this.#url,
      application_name: 'docket-live',
      query_timeout: 5_000,
    });
    let lost = false;
    const onLost = (error?: Error) => {
      if (lost) return;
      lost = true;
      if (this.#client === client) this.#client = undefined;
      clearInterval(this.#heartbeat);
      if (this.#stopped) return;
      this.#logger.warn({ err: error }, 'lost the connection for notifications; connecting again');
      client.end().catch(() => undefined);
      this.#retry = setTimeout(() => void this.#connect(), 500);
    };
    client.on('error', onLost);
    client.on('end', () => onLost());
    client.on('notification', ({ channel, payload }) => this.#events.emit(channel, payload ?? ''));
    try {
      await client.connect();
      for (const channel of this.#channels) await client.query(`listen ${channel}`);
      if (this.#stopped) return await client.end();
      this.#client = client;
      // why: a connection that went silent looks like one on which nothing happens
      this.#heartbeat = setInterval(() => client.query('select 1').catch(onLost), heartbeatMs).unref();
      this.#events.emit('resync', '');
    } catch (error) {
      onLost(error as Error);
    }
  }
}
