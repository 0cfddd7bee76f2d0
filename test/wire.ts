import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between the server and its database; it can be cut, and it can go silent. */
export class Wire {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #target: URL;
  #server: Server | undefined;
  #silent = false;
  port = 0;

  constructor(target: string) {
    this.#target = new URL(target);
  }

  get url(): string {
    const url = new URL(this.#target);
    url.host = `127.0.0.1:${this.port}`;
    return url.href;
  }

  async connect(): Promise<void> {
    const server = createServer((near) => {
      const far = connect(Number(this.#target.port), this.#target.hostname);
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      for (const socket of pair) {
        socket.on('error', () => {});
        socket.on('close', () => {
          near.destroy();
          far.destroy();
          this.#pairs.delete(pair);
        });
      }
      if (this.#silent) silence(pair);
      else near.pipe(far).pipe(near);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as AddressInfo).port;
  }

  /** Ends all connections, and takes no new ones. */
  async cut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    this.#pairs.clear();
    await closed;
  }

  /** Lets nothing through any more, not even the end of a connection. New ones are taken, and get no answer. */
  fallSilent(): void {
    this.#silent = true;
    for (const pair of this.#pairs) silence(pair);
  }

  /** Serves new connections. Those that fell silent stay so, or go on where they were. */
  speak({ thaw }: { thaw: boolean }): void {
    this.#silent = false;
    if (!thaw) return;
    for (const [near, far] of this.#pairs) if (near.isPaused()) near.pipe(far).pipe(near);
  }
}

function silence([near, far]: readonly [Socket, Socket]): void {
  near.unpipe(far).pause();
  far.unpipe(near).pause();
}
