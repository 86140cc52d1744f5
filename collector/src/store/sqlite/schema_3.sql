-- A version of a service, for what all its units did together.
CREATE TABLE release (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    UNIQUE (service, version)
) STRICT;
INSERT INTO release (service, version) SELECT DISTINCT service, version FROM series;
ALTER TABLE series ADD COLUMN release INTEGER NOT NULL DEFAULT 0;
UPDATE series SET release =
    (SELECT id FROM release r WHERE r.service = series.service AND r.version = series.version);
CREATE INDEX series_by_release ON series (release);

-- Windows added up, packed; see segment.rs. A block becomes part of its minute, and is gone; minutes become hours, and
-- hours days, and stay.
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    -- 1 minute, 2 hour, 3 day.
    level INTEGER NOT NULL,
    -- A series; or, negative, a release.
    scope INTEGER NOT NULL,
    -- Its start over the length of its level.
    period INTEGER NOT NULL,
    -- Of the windows in it.
    start_unix_ns INTEGER NOT NULL,
    end_unix_ns INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    stacks INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
-- Covers the questions that need no stacks.
CREATE INDEX segment_by_scope ON segment
    (level, scope, period, start_unix_ns, end_unix_ns, samples, cpu_ns, stacks, whole);
