import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { arrayLiteral } from '../../src/storage/sql.ts';

let database: Awaited<ReturnType<typeof createDatabase>>;
let client: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await database?.drop();
});

const text = fc.oneof(
  fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', '')),
  fc.constantFrom(
    '',
    'null',
    'NULL',
    '"',
    '\\',
    '\\"',
    '\\n',
    '\n',
    '\t',
    '{}',
    ',',
    '{"a":"b\\"c"}',
    '\u{1f600}',
    '\u0001',
  ),
);

test('texts and nulls arrive as they were sent, whoever writes them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.option(text), { maxLength: 20 }), async (values) => {
      const { rows } = await client.query('select $1::text[] as list', [arrayLiteral(values) ?? values]);
      expect(rows[0].list).toEqual(values);
    }),
    { numRuns: 300 },
  );
});

test('numbers, booleans and JSON too', async () => {
  const lists = {
    int: [1, -2, null],
    float8: [0.1, 1e300, -0],
    bool: [true, false, null],
    json: ['{"a":[1,"x\\"y"]}', null],
  };
  for (const [type, values] of Object.entries(lists)) {
    const literal = arrayLiteral(values) as string;
    const { rows } = await client.query(`select $1::${type}[] as ours, $2::${type}[] as theirs`, [literal, values]);
    expect(rows[0].ours).toEqual(rows[0].theirs);
  }
});

test('what JSON would change is left to the driver', () => {
  for (const value of [
    'a\nb',
    '\u0001',
    '\ud800',
    Number.NaN,
    Number.POSITIVE_INFINITY,
    new Date(0),
    {},
    ['a'],
    undefined,
  ]) {
    expect(arrayLiteral([value])).toBeUndefined();
  }
  expect(arrayLiteral(['a "b" \\ c', null])).toBe('{"a \\"b\\" \\\\ c",null}');
});
