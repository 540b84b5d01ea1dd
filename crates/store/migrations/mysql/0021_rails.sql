-- How a slot's payments travel, and what became of each of them in a transaction that succeeded. The checks of slots learn
-- new words: a purpose (void) and an outcome (voided).
ALTER TABLE slots
    ADD COLUMN rail VARCHAR(32) NOT NULL DEFAULT 'direct',
    DROP CONSTRAINT slots_purpose_is,
    DROP CONSTRAINT slots_outcome_is,
    ADD CONSTRAINT slots_purpose_is CHECK (purpose IN ('pay', 'fill', 'void')),
    ADD CONSTRAINT slots_outcome_is CHECK (outcome IN ('paid', 'reverted', 'canceled', 'filled', 'voided')),
    ADD CONSTRAINT slots_rail_is CHECK (rail IN ('direct', 'vault'));
ALTER TABLE slots ALTER COLUMN rail DROP DEFAULT;
ALTER TABLE bindings
    ADD COLUMN item VARCHAR(32),
    ADD CONSTRAINT bindings_item_is CHECK (item IN ('paid', 'short', 'failed', 'skipped', 'voided'));
ALTER TABLE withdrawals
    ADD COLUMN cancel_requested INT NOT NULL DEFAULT 0,
    ADD CONSTRAINT withdrawals_cancel_requested_is CHECK (cancel_requested IN (0, 1));
