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

/** Four bytes for each id: enough to tell, nearly always, that a thousand ids hold none of another thousand. */
export function encodeIdHashes(ids: Iterable<string>): Buffer {
  const hashes = Uint32Array.from(ids, (id) => hashId(id)[0]);
  const bytes = Buffer.allocUnsafe(hashes.length * 4);
  for (const [at, hash] of hashes.entries()) bytes.writeUInt32LE(hash, at * 4);
  return bytes;
}

/** Tells of encoded hashes whether any of these ids may be among them; it never misses one that is. */
export function idMatcher(ids: Iterable<string>): (encoded: Buffer) => boolean {
  const wanted = new Set<number>();
  for (const id of ids) wanted.add(hashId(id)[0] >>> 0);
  return (encoded) => {
    for (let at = 0; at < encoded.length; at += 4) if (wanted.has(encoded.readUInt32LE(at))) return true;
    return false;
  };
}
