-- What the postings of an account and asset add up to: outside = available + held + paid.
CREATE TABLE balances (
    id         BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant_id  VARBINARY(16) NOT NULL,
    account_id VARCHAR(128)  NOT NULL,
    asset_id   VARBINARY(16) NOT NULL,
    outside    VARCHAR(80)   NOT NULL,
    available  VARCHAR(80)   NOT NULL,
    held       VARCHAR(80)   NOT NULL,
    paid       VARCHAR(80)   NOT NULL,
    UNIQUE KEY balances_by_account (tenant_id, account_id, asset_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
