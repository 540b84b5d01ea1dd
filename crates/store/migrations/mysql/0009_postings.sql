-- Double entry in one row: the kind names the bucket that gives and the bucket that takes.
CREATE TABLE postings (
    id         BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    balance_id BIGINT        NOT NULL,
    kind       VARCHAR(32)   NOT NULL,
    amount     VARCHAR(80)   NOT NULL,
    subject    VARBINARY(16) NOT NULL,
    at         BIGINT        NOT NULL,
    KEY postings_by_balance (balance_id),
    CONSTRAINT postings_kind_is CHECK (kind IN ('deposit', 'reserve', 'settle', 'unsettle', 'release'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
