-- Of the samples those with a user stack, and those whose stack is whole; 0 in windows from before they were counted.
ALTER TABLE block ADD COLUMN stacks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE block ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
DROP INDEX block_by_series;
CREATE INDEX block_by_series ON block (series, start_unix_ns, end_unix_ns, samples, cpu_ns, stacks, whole);
