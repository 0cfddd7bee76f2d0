import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { readFields, readWhere } from '../src/cli/assignments.ts';
import { readColumnMap, renameColumns } from '../src/cli/header-map.ts';
import { barOf, durationOf, PlainLines, type Step } from '../src/cli/progress.ts';
import { usageTable } from '../src/cli/usage-command.ts';

describe('a bar', () => {
  const step: Step = { what: 'applying', done: 5_000, total: 10_000, rate: 2_500.4, eta: 2, failed: 3 };
  const plain = (columns: number, of = step, progress = 0.5) => stripVTControlCharacters(barOf(of, progress, columns));

  it('is as wide as there is room', () => {
    expect(plain(80)).toBe('applying [##########-----------]  50%  5,000/10,000  2,500/s  ETA 2 s  3 failed');
    for (let columns = 60; columns <= 200; columns++)
      expect(plain(columns).length).toBeLessThanOrEqual(Math.max(columns, 66));
    expect(plain(60)).toBe('applying  50%  5,000/10,000  2,500/s  ETA 2 s  3 failed');
    expect(plain(300)).toContain(`[${'#'.repeat(20)}${'-'.repeat(20)}]`);
  });

  it('never says all before it is all, and says only what is known', () => {
    expect(plain(80, { what: 'x', done: 9_999, total: 10_000 }, 0.9999)).toMatch(/-\] {2}99% {2}9,999\/10,000$/);
    expect(plain(80, { what: 'x', done: 7, total: null, eta: null, rate: null, failed: 0 }, 0)).toBe('x 7');
  });

  it('has times that people read', () => {
    expect([0.2, 59, 61, 3_599, 3_720].map(durationOf)).toEqual([
      '1 s',
      '59 s',
      '1 min 01 s',
      '59 min 59 s',
      '1 h 02 min',
    ]);
  });
});

it('lines come every five seconds at most', () => {
  let now = 0;
  const lines: string[] = [];
  const progress = new PlainLines(
    (text) => lines.push(text),
    () => now,
  );
  for (; now <= 12_000; now += 250) progress.show({ what: 'update', done: now, total: 12_000 });
  expect(lines).toEqual(['update 0/12,000\n', 'update 5,000/12,000\n', 'update 10,000/12,000\n']);
});

describe('what stands behind --where and --set', () => {
  it('is text, several values, none, members, JSON and null', () => {
    expect(readWhere(['a=x=y', 'b=1', 'b=2', 'c='])).toEqual({ a: 'x=y', b: ['1', '2'], c: null });
    expect(readWhere()).toEqual({});
    const fields = readFields({ set: ['t=1', 'e=', 'd.a=x'], setJson: ['n=1.5', 'd.b={"c":[]}'], unset: ['u', 'd.z'] });
    expect(fields).toEqual({ t: '1', e: '', n: 1.5, u: null, d: { a: 'x', b: { c: [] }, z: null } });
    expect(JSON.stringify(readFields({ set: ['__proto__.x=1'] }))).toBe('{"__proto__":{"x":"1"}}');
  });

  it('is refused where it says two things', () => {
    expect(() => readWhere(['a=', 'a=1'])).toThrow('cannot be joined');
    expect(() => readWhere(['=1'])).toThrow('name=value');
    expect(() => readFields({ set: ['a=1'], unset: ['a'] })).toThrow('a is set twice');
    expect(() => readFields({ set: ['a=1', 'a.b=1'] })).toThrow('a.b is set twice');
    expect(() => readFields({})).toThrow('Nothing is to be set');
  });
});

describe('other names for columns', () => {
  async function rename(text: string, map: string[], size: number): Promise<string> {
    const bytes = Buffer.from(text);
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    }
    const all: Uint8Array[] = [];
    for await (const piece of renameColumns(pieces(), readColumnMap(map))) all.push(piece);
    return Buffer.concat(all).toString();
  }
  const body = 'Ä1,"a ""quoted"", one\r\nof two lines"\r\n\r\n,\\N\n';

  it.each([1, 2, 7, 1_000])('reach the header alone, whatever its pieces (%i)', async (size) => {
    const text = `\ufeff"Case, or\r\n""number""",Summary,Ä\r\n${body}`;
    const renamed = await rename(text, ['Case, or\r\n"number"=caseId', 'Ä=data.a'], size);
    expect(renamed).toBe(`caseId,Summary,data.a\n${body}`);
  });

  it('work for a file of a header alone', async () => {
    expect(await rename('A,B', ['A=caseId'], 3)).toBe('caseId,B\n');
  });

  it('are refused where the file has no such column, before anything is given on', async () => {
    await expect(rename('A,B\n1,2\n', ['C=caseId'], 100)).rejects.toThrow('It has: "A", "B".');
    await expect(rename('x'.repeat(2_000_000), ['A=caseId'], 100_000)).rejects.toThrow('Is it CSV?');
    expect(() => readColumnMap(['A=b', 'A=c'])).toThrow('twice');
    expect(readColumnMap(['a=b=c'])).toEqual(new Map([['a=b', 'c']]));
  });
});

describe('a month of usage', () => {
  const day = (number: number, items: number) => ({
    day: `2026-11-0${number}`,
    batches: items > 0 ? 1 : 0,
    items,
    credits: items > 0 ? 1 + items / 2 : 0,
  });
  const total = { batches: 2, items: 2_401, credits: 1_202.5 };
  const usage = { month: '2026-11', days: [day(1, 2_400), day(2, 0), day(3, 1)], total };
  const lines = (columns: number, of = usage) => stripVTControlCharacters(usageTable(of, columns)).split('\n');

  it('is a table with a bar for each day, as wide as there is room', () => {
    expect(lines(100)).toEqual([
      'DAY         BATCHES  ITEMS  CREDITS',
      `2026-11-01        1  2,400  1,201.0  ${'#'.repeat(30)}`,
      '2026-11-02        0      0      0.0',
      '2026-11-03        1      1      1.5  #',
      'total             2  2,401  1,202.5',
      '',
    ]);
    expect(lines(50)[1]).toBe(`2026-11-01        1  2,400  1,201.0  ${'#'.repeat(13)}`);
  });

  it('has no bars where there is no room, no terminal or nothing to show', () => {
    for (const columns of [0, 41]) expect(lines(columns).join()).not.toContain('#');
    const none = { ...usage, days: [day(1, 0)], total: { batches: 0, items: 0, credits: 0 } };
    expect(lines(100, none)[1]).toBe('2026-11-01        0      0        0');
  });
});
