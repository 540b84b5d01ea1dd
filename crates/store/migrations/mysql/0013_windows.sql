-- What an account withdrew of an asset on one UTC day, in atomic units.
CREATE TABLE windows (
    tenant_id  VARBINARY(16) NOT NULL,
    account_id VARCHAR(128)  NOT NULL,
    asset_id   VARBINARY(16) NOT NULL,
    utc_day    BIGINT        NOT NULL,
    total      VARCHAR(80)   NOT NULL,
    PRIMARY KEY (tenant_id, account_id, asset_id, utc_day)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
