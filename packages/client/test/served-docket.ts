import { Docket, type DocketOptions } from '@docket/client';
import { type Served, type ServeOptions, serve } from '../../server/test/served.ts';

export interface ServedDocket extends Served {
  docket: Docket;
  /** The paths that `docket` has asked for, with their methods. */
  asked: string[];
  /** Another client of the same server. */
  client(options?: DocketOptions): Docket;
}

/** The whole server over HTTP, and a client of it. */
export async function serveDocket(options: ServeOptions = {}): Promise<ServedDocket> {
  const served = await serve(options);
  const asked: string[] = [];
  const client = (own: DocketOptions = {}) =>
    new Docket({ baseUrl: served.base, apiKey: served.authorization.replace('Bearer ', ''), ...own });
  const docket = client({
    fetch: (input, init) => {
      asked.push(`${init?.method} ${String(input).replace(`${served.base}/api/v1`, '')}`);
      return fetch(input, init);
    },
  });
  return { ...served, docket, asked, client };
}

export async function collect<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const all: Row[] = [];
  for await (const row of rows) all.push(row);
  return all;
}
