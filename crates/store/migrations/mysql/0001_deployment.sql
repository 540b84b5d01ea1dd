-- One row: which installation this database belongs to, and the next payout number.
CREATE TABLE deployment (
    id            INT           NOT NULL PRIMARY KEY,
    deployment_id VARBINARY(16) NOT NULL,
    epoch         BIGINT        NOT NULL,
    sequence_next BIGINT        NOT NULL,
    created_at    BIGINT        NOT NULL,
    CONSTRAINT deployment_id_is CHECK (id = 1),
    CONSTRAINT deployment_epoch_is CHECK (epoch > 0),
    CONSTRAINT deployment_sequence_next_is CHECK (sequence_next > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
