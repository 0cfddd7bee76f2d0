/*
 * Hashes of ids. They are stored with chunks, so an id must have the same ones for ever.
 */

/** Two hashes of 32 bits. */
export function hashId(id: string): [number, number] {
  let first = 0x9e3779b1;
  let second = 0x85ebca77;
  for (let at = 0; at < id.length; at++) {
    const unit = id.charCodeAt(at);
    first = Math.imul(first ^ unit, 0x9e3779b1);
    second = Math.imul(second ^ unit, 0x5f356495);
    first ^= first >>> 15;
    second ^= second >>> 13;
  }
  first = Math.imul(first ^ (first >>> 16), 0x85ebca6b) ^ Math.imul(second ^ (second >>> 13), 0xc2b2ae35);
  second = Math.imul(second ^ (second >>> 16), 0x85ebca6b) ^ Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return [first ^ (first >>> 16), second ^ (second >>> 16)];
}

const bytesPerId = 8;

/** Eight bytes for each id: a thousand ids and a million others are taken for each other once in twenty thousand million times. */
export function encodeIdHashes(ids: readonly string[]): Buffer {
  const bytes = Buffer.allocUnsafe(ids.length * bytesPerId);
  for (const [at, id] of ids.entries()) {
    const [first, second] = hashId(id);
    bytes.writeInt32LE(first, at * bytesPerId);
    bytes.writeInt32LE(second, at * bytesPerId + 4);
  }
  return bytes;
}

/** Tells of encoded hashes which of these ids are among them. */
export function idFinder(ids: Iterable<string>): (encoded: Buffer) => string[] {
  const wanted = new Map<number, { id: string; second: number }[]>();
  for (const id of ids) {
    const [first, second] = hashId(id);
    const others = wanted.get(first) ?? [];
    wanted.set(first, [...others, { id, second }]);
  }
  return (encoded) => {
    const found = new Set<string>();
    for (let at = 0; at < encoded.length; at += bytesPerId) {
      const alike = wanted.get(encoded.readInt32LE(at));
      if (!alike) continue;
      const stored = encoded.readInt32LE(at + 4);
      for (const { id, second } of alike) if (second === stored) found.add(id);
    }
    return [...found];
  };
}
