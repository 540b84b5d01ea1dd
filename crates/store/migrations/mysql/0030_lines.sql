-- Where the lines of accounts end, for each priority: what the next one of the account is placed behind. The row with the empty
-- account is the line of a tenant's accounts themselves. Rows that ended before now mean nothing and are removed.
CREATE TABLE `lines` (
    chain_id    BIGINT        NOT NULL,
    tenant_id   VARBINARY(16) NOT NULL,
    account_id  VARCHAR(128)  NOT NULL,
    urgent_at   BIGINT        NOT NULL,
    vip_at      BIGINT        NOT NULL,
    standard_at BIGINT        NOT NULL,
    PRIMARY KEY (chain_id, tenant_id, account_id),
    KEY lines_by_end (chain_id, tenant_id, standard_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
