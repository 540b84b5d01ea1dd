-- One row: which installation this database belongs to, and the next payout number.
CREATE TABLE deployment (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    deployment_id BLOB    NOT NULL,
    epoch         INTEGER NOT NULL CHECK (epoch > 0),
    sequence_next INTEGER NOT NULL CHECK (sequence_next > 0),
    created_at    INTEGER NOT NULL
) STRICT;
