-- Differences of a reconciliation that nothing repairs and that an operator has accepted: another's use of a key, a
-- transfer that nobody explains, a payment that does not show. The id is a digest of what was seen, so that
-- anything else is a difference again.
CREATE TABLE accepted_differences (
    id      VARCHAR(255) NOT NULL PRIMARY KEY,
    kind    TEXT         NOT NULL,
    subject TEXT         NOT NULL,
    detail  TEXT         NOT NULL,
    reason  TEXT         NOT NULL,
    actor   TEXT         NOT NULL,
    at      BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
