-- secret_hash is the SHA-256 of the whole secret; the secret itself is shown once and stored nowhere.
CREATE TABLE api_keys (
    id          BLOB    NOT NULL PRIMARY KEY,
    tenant_id   BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    secret_hash BLOB    NOT NULL UNIQUE,
    scopes      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER,
    seal_key_id INTEGER NOT NULL,
    mac         BLOB    NOT NULL
) STRICT;
