-- Items of an upload that are stored already: they wait like those of any other job, and count among them.

alter table docket.jobs add column received integer not null default 0 check (received >= 0);
