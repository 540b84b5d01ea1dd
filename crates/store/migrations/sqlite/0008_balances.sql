-- What the postings of an account and asset add up to: outside = available + held + paid.
CREATE TABLE balances (
    id         INTEGER NOT NULL PRIMARY KEY,
    tenant_id  BLOB    NOT NULL,
    account_id TEXT    NOT NULL,
    asset_id   BLOB    NOT NULL,
    outside    TEXT    NOT NULL,
    available  TEXT    NOT NULL,
    held       TEXT    NOT NULL,
    paid       TEXT    NOT NULL,
    UNIQUE (tenant_id, account_id, asset_id)
) STRICT;
