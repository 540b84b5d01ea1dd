CREATE TABLE tenants (
    id         VARBINARY(16) NOT NULL PRIMARY KEY,
    name       VARCHAR(255)  NOT NULL,
    created_at BIGINT        NOT NULL,
    UNIQUE KEY tenants_by_name (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
