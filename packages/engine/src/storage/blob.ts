import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

// why the chunk size: the result keeps the whole of a buffer that is 128 KiB otherwise, for the few KiB that it mostly is
const fast = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: 16 * 1024 };

/** Items and results of a chunk as they are stored: JSON, compressed. */
export function encodeBlob(value: readonly unknown[]): Buffer {
  return zstdCompressSync(JSON.stringify(value), fast);
}

export function decodeBlob<Value>(blob: Buffer): Value[] {
  return JSON.parse(zstdDecompressSync(blob).toString()) as Value[];
}
