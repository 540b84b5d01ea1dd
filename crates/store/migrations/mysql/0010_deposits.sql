CREATE TABLE deposits (
    id           VARBINARY(16) NOT NULL PRIMARY KEY,
    tenant_id    VARBINARY(16) NOT NULL,
    external_id  VARCHAR(255)  NOT NULL,
    request_hash VARBINARY(32) NOT NULL,
    account_id   VARCHAR(128)  NOT NULL,
    asset_id     VARBINARY(16) NOT NULL,
    amount       VARCHAR(80)   NOT NULL,
    created_at   BIGINT        NOT NULL,
    seal_key_id  BIGINT        NOT NULL,
    mac          VARBINARY(32) NOT NULL,
    UNIQUE KEY deposits_by_request (tenant_id, external_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
