import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readEvents, type ServerSentEvent } from '../src/event-stream.ts';

async function eventsOf(bytes: Uint8Array, cuts: number[] = []): Promise<ServerSentEvent[]> {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  async function* chunks() {
    for (const [at, start] of places.entries()) yield bytes.subarray(start, places[at + 1] ?? bytes.length);
  }
  const events: ServerSentEvent[] = [];
  for await (const event of readEvents(chunks())) events.push(event);
  return events;
}
const encode = (text: string) => new TextEncoder().encode(text);

it('reads what the standard describes', async () => {
  const text =
    ': a comment\n\nid: 1\nevent: progress\ndata: {"a":\ndata:1}\n\ndata\ndata:\n\nretry: 10\nid\ndata:  two spaces\n\n' +
    'event: no data\n\nid: bad\0id\ndata: x: y\n\ndata: never closed\n';
  expect(await eventsOf(encode(text))).toEqual([
    { event: 'progress', data: '{"a":\n1}', id: '1' },
    { event: 'message', data: '\n', id: '1' },
    { event: 'message', data: ' two spaces', id: '' },
    { event: 'message', data: 'x: y', id: '' },
  ]);
});

it('reads the same however the bytes are cut and the lines end', async () => {
  const text = 'id: ä1\nevent: end\ndata: {"name":"Ünï\u{1f600}"}\n\n: ping\n\nid: 2\ndata: a\ndata: b\n\n';
  const whole = await eventsOf(encode(text));
  expect(whole).toHaveLength(2);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('\n', '\r', '\r\n'),
      fc.array(fc.nat(200), { maxLength: 12 }),
      async (end, cuts) => {
        expect(await eventsOf(encode(text.replaceAll('\n', end)), cuts)).toEqual(whole);
      },
    ),
  );
});
