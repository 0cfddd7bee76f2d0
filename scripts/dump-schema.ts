import type pg from 'pg';

/** The tables, constraints and indexes of schema `docket` as SQL text, in a stable order; what a review of a migration compares. */
export async function dumpSchema(
  client: pg.Client,
  except: ReadonlySet<string> = new Set(),
): Promise<{ text: string; tables: Set<string> }> {
  const { rows } = await client.query<{
    table: string;
    columns: string[];
    constraints: string[] | null;
    indexes: string[] | null;
  }>(`
    select c.relname as table,
      (select array_agg(format('%I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
          case when a.attstorage <> t.typstorage then ' storage ' || case a.attstorage when 'e' then 'external' when 'p' then 'plain' when 'm' then 'main' else 'extended' end else '' end,
          case when a.attnotnull then ' not null' else '' end,
          coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')) order by a.attnum)
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select array_agg(format('constraint %I %s', conname, pg_get_constraintdef(oid)) order by contype desc, conname)
        from pg_constraint where conrelid = c.oid and contype <> 'n') as constraints,
      (select array_agg(pg_get_indexdef(i.indexrelid) order by i.indexrelid::regclass::text)
        from pg_index i where i.indrelid = c.oid
          and not exists (select 1 from pg_constraint k where k.conindid = i.indexrelid)) as indexes
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'docket' and c.relkind in ('r', 'p')
    order by c.relname`);
  const shown = rows.filter((row) => !except.has(row.table));
  const text = shown.map(({ table, columns, constraints, indexes }) => {
    const lines = [...columns, ...(constraints ?? [])].map((line) => `  ${line}`).join(',\n');
    return [`create table docket.${table} (\n${lines}\n);`, ...(indexes ?? []).map((index) => `${index};`)].join('\n');
  });
  return {
    text: `-- Generated from the migrations by \`npm run generate\`. Not run by anything.\n\n${text.join('\n\n')}\n`,
    tables: new Set(shown.map((row) => row.table)),
  };
}
