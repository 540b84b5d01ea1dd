-- Why the whole engine signs nothing. A halt is cleared with a reason, never deleted.
CREATE TABLE halts (
    id           BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    reason       VARCHAR(255) NOT NULL,
    detail       TEXT         NOT NULL,
    raised_at    BIGINT       NOT NULL,
    cleared_at   BIGINT,
    cleared_with TEXT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
-- Never in force: who raises a halt locks this row, and who obeys the halts reads it locked, so that none is raised
-- between a look at the halts and the commit that relied on it.
INSERT INTO halts (id, reason, detail, raised_at, cleared_at, cleared_with)
    VALUES (1, 'gate', 'the row that those who raise and those who obey halts wait for', 0, 0, 'never in force');
