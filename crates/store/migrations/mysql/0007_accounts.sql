-- An account begins with its first deposit.
CREATE TABLE accounts (
    tenant_id  VARBINARY(16) NOT NULL,
    account_id VARCHAR(128)  NOT NULL,
    created_at BIGINT        NOT NULL,
    PRIMARY KEY (tenant_id, account_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
