-- What a node said that the slot's payload uses, in gas, when it was bound. NULL where nobody asked: fillers, imports, and
-- slots that are older than this column.
ALTER TABLE slots
    ADD COLUMN gas_estimated BIGINT,
    ADD CONSTRAINT slots_gas_estimated_is CHECK (gas_estimated >= 0);
