-- What a chunk holds, so that those that do not matter need not be read. A chunk that a program of the version before has written
-- leaves this null: it is read.

alter table docket.job_chunks
  -- the item codes that stand in its results
  add column codes text[],
  -- of a chunk that waits: eight bytes for each item, the hash of its id
  add column id_hashes bytea;
alter table docket.job_chunks alter column id_hashes set storage external;
