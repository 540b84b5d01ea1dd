-- The hash chain of operator actions: hash = SHA-256(previous_hash, the other columns).
CREATE TABLE audit (
    sequence      BIGINT        NOT NULL PRIMARY KEY,
    at            BIGINT        NOT NULL,
    tenant_id     VARBINARY(16),
    actor         TEXT          NOT NULL,
    action        TEXT          NOT NULL,
    subject       TEXT          NOT NULL,
    detail        TEXT          NOT NULL,
    previous_hash VARBINARY(32) NOT NULL,
    hash          VARBINARY(32) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
