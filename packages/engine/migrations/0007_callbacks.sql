-- Where the end of a job is to be told, for the program around the engine; the engine itself calls nobody.

alter table docket.jobs add column callback_url text;
