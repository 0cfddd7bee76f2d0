import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { selfSigned } from './self-signed.ts';

export interface Received {
  headers: IncomingHttpHeaders;
  body: string;
  path: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events freely
  event: any;
}

/** Answers a delivery in its own way, well or badly. */
export type Answer = (response: ServerResponse, received: Received) => void;

export const accept: Answer = (response) => void response.writeHead(204).end();

export interface Receiver {
  url: string;
  /** What has come so far. */
  received: Received[];
  answer: Answer;
  stop(): Promise<void>;
}

/** A receiver of webhooks over real HTTP. It keeps what comes and answers as told. */
export async function startReceiver(answer: Answer = accept, { tls = false } = {}): Promise<Receiver> {
  const sockets = new Set<Socket>();
  const listener: RequestListener = (request, response) => {
    let body = '';
    request.on('data', (piece) => (body += piece));
    request.on('end', () => {
      const received = { headers: request.headers, body, path: request.url ?? '', event: JSON.parse(body) };
      receiver.received.push(received);
      receiver.answer(response, received);
    });
  };
  const server = tls ? createTlsServer(selfSigned, listener) : createServer(listener);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const receiver: Receiver = {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received: [],
    answer,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return receiver;
}
