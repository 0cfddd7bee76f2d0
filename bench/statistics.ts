/** One measured figure, what it is compared with, and the bound that the project sets itself. */
export interface Row {
  what: string;
  measured: string;
  comparedWith: string;
  ratio: number | null;
  target: string;
  met: boolean;
}

export function round(value: number, digits = 1): number {
  return Number(value.toFixed(digits));
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function perSecond(items: number, ms: number): string {
  return `${Math.round((items / ms) * 1000).toLocaleString('en')} items/s`;
}

/** What a suite measured. Charts are SVG, by the name of their file. */
export interface Report {
  rows: Row[];
  charts?: Record<string, string>;
}
