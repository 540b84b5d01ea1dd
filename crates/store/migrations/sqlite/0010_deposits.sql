CREATE TABLE deposits (
    id           BLOB    NOT NULL PRIMARY KEY,
    tenant_id    BLOB    NOT NULL,
    external_id  TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    account_id   TEXT    NOT NULL,
    asset_id     BLOB    NOT NULL,
    amount       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    seal_key_id  INTEGER NOT NULL,
    mac          BLOB    NOT NULL,
    UNIQUE (tenant_id, external_id)
) STRICT;
