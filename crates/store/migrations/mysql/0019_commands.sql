-- What others want signed: only the signer has keys.
CREATE TABLE commands (
    id           BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    chain_id     BIGINT        NOT NULL,
    kind         VARCHAR(32)   NOT NULL,
    sender       VARBINARY(20) NOT NULL,
    nonce        BIGINT        NOT NULL,
    requested_by TEXT          NOT NULL,
    reason       TEXT          NOT NULL,
    created_at   BIGINT        NOT NULL,
    due_at       BIGINT        NOT NULL,
    done_at      BIGINT,
    answer       TEXT,
    KEY commands_open (chain_id, done_at, due_at),
    CONSTRAINT commands_kind_is CHECK (kind IN ('bump', 'cancel', 'fill'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
