-- Where the lines of accounts end, for each priority: what the next one of the account is placed behind. The row with the empty
-- account is the line of a tenant's accounts themselves. Rows that ended before now mean nothing and are removed.
CREATE TABLE lines (
    chain_id    INTEGER NOT NULL,
    tenant_id   BLOB    NOT NULL,
    account_id  TEXT    NOT NULL,
    urgent_at   INTEGER NOT NULL,
    vip_at      INTEGER NOT NULL,
    standard_at INTEGER NOT NULL,
    PRIMARY KEY (chain_id, tenant_id, account_id)
) STRICT;
CREATE INDEX lines_by_end ON lines (chain_id, tenant_id, standard_at);
