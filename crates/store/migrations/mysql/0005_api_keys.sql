-- secret_hash is the SHA-256 of the whole secret; the secret itself is shown once and stored nowhere.
CREATE TABLE api_keys (
    id          VARBINARY(16) NOT NULL PRIMARY KEY,
    tenant_id   VARBINARY(16) NOT NULL,
    name        TEXT          NOT NULL,
    secret_hash VARBINARY(32) NOT NULL,
    scopes      TEXT          NOT NULL,
    created_at  BIGINT        NOT NULL,
    revoked_at  BIGINT,
    seal_key_id BIGINT        NOT NULL,
    mac         VARBINARY(32) NOT NULL,
    UNIQUE KEY api_keys_by_secret (secret_hash)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
