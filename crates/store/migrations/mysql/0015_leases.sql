-- One writer per name. The fence counts the holders: a commit under an old fence is refused.
CREATE TABLE leases (
    name       VARCHAR(255) NOT NULL PRIMARY KEY,
    holder     VARCHAR(255) NOT NULL,
    fence      BIGINT       NOT NULL,
    expires_at BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
