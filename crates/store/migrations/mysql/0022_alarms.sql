-- What is wrong with a sender or a slot now. Each goes away by itself, or when an operator mended its cause.
CREATE TABLE alarms (
    kind      VARCHAR(32)   NOT NULL,
    chain_id  BIGINT        NOT NULL,
    sender    VARBINARY(20) NOT NULL,
    subject   VARCHAR(255)  NOT NULL,
    detail    TEXT          NOT NULL,
    raised_at BIGINT        NOT NULL,
    PRIMARY KEY (kind, chain_id, subject),
    CONSTRAINT alarms_kind_is CHECK (kind IN ('fee_cap', 'gas_money', 'damaged_slot'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
