-- What an account withdrew of an asset on one UTC day, in atomic units.
CREATE TABLE windows (
    tenant_id  BLOB    NOT NULL,
    account_id TEXT    NOT NULL,
    asset_id   BLOB    NOT NULL,
    utc_day    INTEGER NOT NULL,
    total      TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, account_id, asset_id, utc_day)
) STRICT;
