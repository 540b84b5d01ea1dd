-- Live work: one narrow row a withdrawal, gone at finality.
CREATE TABLE work (
    withdrawal_id BLOB    NOT NULL PRIMARY KEY,
    chain_id      INTEGER NOT NULL,
    stage         TEXT    NOT NULL CHECK (stage IN ('validate', 'sign', 'broadcast', 'monitor', 'held')),
    shard         INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    receives      INTEGER NOT NULL,
    trace         TEXT,
    entered_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX work_by_stage ON work (stage, chain_id, priority, withdrawal_id);
