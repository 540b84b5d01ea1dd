-- Which payments a slot carries. released_at = 0 is a live binding, and the second key allows one per payment.
CREATE TABLE bindings (
    slot_id       BLOB    NOT NULL,
    position      INTEGER NOT NULL,
    withdrawal_id BLOB    NOT NULL,
    released_at   INTEGER NOT NULL,
    PRIMARY KEY (slot_id, position),
    UNIQUE (withdrawal_id, released_at)
) STRICT;
