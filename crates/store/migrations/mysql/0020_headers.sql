-- The newest blocks as the monitor saw them, one a height: what a reorg is told by.
CREATE TABLE headers (
    chain_id    BIGINT        NOT NULL,
    number      BIGINT        NOT NULL,
    hash        VARBINARY(32) NOT NULL,
    parent_hash VARBINARY(32) NOT NULL,
    at          BIGINT        NOT NULL,
    PRIMARY KEY (chain_id, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
