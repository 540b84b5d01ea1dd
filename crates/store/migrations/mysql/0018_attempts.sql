-- Every set of signed bytes, committed before the first byte leaves. Fees are wei per gas.
CREATE TABLE attempts (
    hash                         VARBINARY(32) NOT NULL PRIMARY KEY,
    slot_id                      VARBINARY(16) NOT NULL,
    ordinal                      INT           NOT NULL,
    kind                         VARCHAR(32)   NOT NULL,
    raw                          MEDIUMBLOB    NOT NULL,
    max_fee_per_gas_wei          BIGINT        NOT NULL,
    max_priority_fee_per_gas_wei BIGINT        NOT NULL,
    gas_limit                    BIGINT        NOT NULL,
    committed_at                 BIGINT        NOT NULL,
    sent_at                      BIGINT,
    sends                        INT           NOT NULL,
    last_outcome                 TEXT,
    gas_used                     BIGINT,
    effective_gas_price_wei      BIGINT,
    UNIQUE KEY attempts_by_ordinal (slot_id, ordinal),
    CONSTRAINT attempts_kind_is CHECK (kind IN ('payload', 'cancel'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
