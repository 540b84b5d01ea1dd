-- Payments that their client took back while a slot carried them. When the slot's cancel is final, they end.
CREATE TABLE cancel_wishes (
    withdrawal_id BLOB    NOT NULL,
    slot_id       BLOB    NOT NULL,
    actor         TEXT    NOT NULL,
    asked_at      INTEGER NOT NULL,
    PRIMARY KEY (withdrawal_id, slot_id)
) STRICT;
