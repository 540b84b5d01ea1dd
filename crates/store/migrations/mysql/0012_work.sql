-- Live work: one narrow row a withdrawal, gone at finality.
CREATE TABLE work (
    withdrawal_id VARBINARY(16) NOT NULL PRIMARY KEY,
    chain_id      BIGINT        NOT NULL,
    stage         VARCHAR(32)   NOT NULL,
    shard         INT           NOT NULL,
    priority      INT           NOT NULL,
    due_at        BIGINT        NOT NULL,
    receives      INT           NOT NULL,
    trace         TEXT,
    entered_at    BIGINT        NOT NULL,
    KEY work_by_stage (stage, chain_id, priority, withdrawal_id),
    CONSTRAINT work_stage_is CHECK (stage IN ('validate', 'sign', 'broadcast', 'monitor', 'held'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
