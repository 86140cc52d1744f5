-- Totals that retention does not lower, and the seed of the hashes.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Dictionary hashes are seeded, so that no agent can choose names that collide.
INSERT INTO meta VALUES ('hash_seed', random());

CREATE TABLE agent (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- What was stored, so that it is never stored twice.
CREATE TABLE batch (
    agent INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    end_unix_ns INTEGER NOT NULL,
    PRIMARY KEY (agent, epoch, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_by_end ON batch (end_unix_ns);

CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    unit TEXT NOT NULL,
    -- A JSON object with sorted keys.
    labels TEXT NOT NULL,
    UNIQUE (service, version, host, unit, labels)
) STRICT;

-- One window of one series, packed; see block.rs.
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    start_unix_ns INTEGER NOT NULL,
    end_unix_ns INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
-- Covers the questions that need no stacks.
CREATE INDEX block_by_series ON block (series, start_unix_ns, end_unix_ns, samples, cpu_ns);

-- The hash finds, the content decides. Identities are never used again (AUTOINCREMENT), so caches cannot be stale.
-- used_day (days since 1970) is at least the day of the last window that needs the row.
CREATE TABLE frame (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash INTEGER NOT NULL,
    used_day INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    function TEXT NOT NULL,
    module TEXT NOT NULL,
    file TEXT NOT NULL,
    line INTEGER NOT NULL,
    build_id TEXT NOT NULL
) STRICT;
CREATE INDEX frame_by_hash ON frame (hash);

CREATE TABLE stack (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash INTEGER NOT NULL,
    used_day INTEGER NOT NULL,
    -- Identities of its frames, root first, as LEB128.
    frames BLOB NOT NULL
) STRICT;
CREATE INDEX stack_by_hash ON stack (hash);

-- Small state of other stages, replaced only by who read its last version.
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
