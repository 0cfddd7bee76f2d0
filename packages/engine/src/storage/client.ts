import pg from 'pg';

const connectTimeoutMs = 4_000;
const goodbyeMs = 2_000;

/** A connection whose beginning and end take seconds at most, also when the network has gone silent. */
export class Client extends pg.Client {
  constructor(config: pg.ClientConfig) {
    super({
      keepAlive: true,
      keepAliveInitialDelayMillis: 4_000,
      ...config,
      connectionTimeoutMillis: connectTimeoutMs,
    });
  }

  override end(callback?: (error: Error) => void): Promise<void> {
    const late = setTimeout(() => this.connection.stream.destroy(), goodbyeMs);
    late.unref();
    this.once('end', () => clearTimeout(late));
    // why: with `undefined` as an argument there would be no promise
    return callback ? (super.end(callback) as unknown as Promise<void>) : super.end();
  }
}
