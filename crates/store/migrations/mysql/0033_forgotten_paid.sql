-- Whether the final block of the slot is known to have paid it: in a call of the vault each item has an outcome of its own. Of
-- earlier rows it is not known, and the chain is read again.
ALTER TABLE forgotten
    ADD COLUMN paid BIGINT NOT NULL DEFAULT 0,
    ADD CONSTRAINT forgotten_paid_is CHECK (paid IN (0, 1));
