import type { RouteOptions } from 'fastify';

interface KnownPath {
  url: string;
  pattern: RegExp;
  /** How many segments are parameters: fewer means more exact. */
  parameters: number;
  methods: Set<string>;
}

/** Which methods each path has: for 405 and Allow, which the router does not know about. */
export class KnownPaths {
  readonly #paths = new Map<string, KnownPath>();
  #sealed = false;

  /** To be called for each route, from an `onRoute` hook. */
  add({ url, method }: Pick<RouteOptions, 'url' | 'method'>): void {
    if (this.#sealed) return;
    let path = this.#paths.get(url);
    if (!path) {
      path = { url, pattern: patternOf(url), parameters: url.split(/[:*]/).length - 1, methods: new Set() };
      this.#paths.set(url, path);
    }
    for (const one of [method].flat()) path.methods.add(one.toUpperCase());
  }

  /** No route after this counts. */
  seal(): void {
    this.#sealed = true;
  }

  /** The methods of the most exact path that fits; undefined for an unknown path. */
  methodsAt(path: string): string[] | undefined {
    const fitting = [...this.#paths.values()].filter(({ pattern }) => pattern.test(path));
    fitting.sort((a, b) => a.parameters - b.parameters);
    const [best] = fitting;
    return best && [...best.methods, 'OPTIONS'].sort();
  }

  /**
   * Methods that a path without parameters lacks, but that a path with parameters would take in its stead: a GET of
   * `/cases/bulk-update` would read the case "bulk-update".
   */
  hidden(): { url: string; methods: string[] }[] {
    const paths = [...this.#paths.values()];
    return paths
      .filter(({ parameters }) => parameters === 0)
      .map(({ url, methods }) => {
        const wider = paths.filter(
          (other) => other.parameters > 0 && !other.url.includes('*') && other.pattern.test(url),
        );
        const taken = new Set(wider.flatMap((other) => [...other.methods]));
        return { url, methods: [...taken].filter((method) => method !== 'HEAD' && !methods.has(method)) };
      })
      .filter(({ methods }) => methods.length > 0);
  }
}

function patternOf(url: string): RegExp {
  const source = url
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replace(/:\w+/g, '[^/]+')
    .replace(/\*/g, '.*');
  return new RegExp(`^${source}$`);
}
