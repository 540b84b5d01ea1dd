-- Which payments a slot carries. released_at = 0 is a live binding, and the second key allows one per payment.
CREATE TABLE bindings (
    slot_id       VARBINARY(16) NOT NULL,
    position      INT           NOT NULL,
    withdrawal_id VARBINARY(16) NOT NULL,
    released_at   BIGINT        NOT NULL,
    PRIMARY KEY (slot_id, position),
    UNIQUE KEY bindings_by_withdrawal (withdrawal_id, released_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
