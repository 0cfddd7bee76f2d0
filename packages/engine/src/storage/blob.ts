import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

const fast = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** Items and results of a chunk as they are stored: JSON, compressed. */
export function encodeBlob(value: readonly unknown[]): Buffer {
  return zstdCompressSync(JSON.stringify(value), fast);
}

export function decodeBlob<Value>(blob: Buffer): Value[] {
  return JSON.parse(zstdDecompressSync(blob).toString()) as Value[];
}
