-- An account begins with its first deposit.
CREATE TABLE accounts (
    tenant_id  BLOB    NOT NULL,
    account_id TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, account_id)
) STRICT;
