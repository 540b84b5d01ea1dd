-- What reconcile found and did. The newest row says which head of the audit log in the journal it has answered for:
-- a restored log never comes back to that head.
CREATE TABLE reconciliations (
    id             BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at             BIGINT        NOT NULL,
    actor          TEXT          NOT NULL,
    differences    BIGINT        NOT NULL,
    repaired       BIGINT        NOT NULL,
    audit_sequence BIGINT        NOT NULL,
    audit_hash     VARBINARY(32) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
