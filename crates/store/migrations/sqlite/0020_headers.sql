-- The newest blocks as the monitor saw them, one a height: what a reorg is told by.
CREATE TABLE headers (
    chain_id    INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    parent_hash BLOB    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (chain_id, number)
) STRICT;
