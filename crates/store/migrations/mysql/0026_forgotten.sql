-- Payments that journal or chain know, that the database has forgotten, and of which not enough is left for a row of
-- withdrawals: from the journal alone what they pay is missing, from the vault's event alone whose they are. A client's
-- retry, found by external id or by ref, says the rest.
CREATE TABLE forgotten (
    reference     VARBINARY(32) NOT NULL PRIMARY KEY,
    epoch         BIGINT        NOT NULL,
    sequence      BIGINT        NOT NULL,
    tenant_id     VARBINARY(16),
    external_id   VARCHAR(255),
    withdrawal_id VARBINARY(16),
    slot_id       VARBINARY(16) NOT NULL,
    created_at    BIGINT        NOT NULL,
    KEY forgotten_by_request (tenant_id, external_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
