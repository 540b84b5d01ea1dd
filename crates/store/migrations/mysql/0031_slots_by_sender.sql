-- What a sender has under way, from one index: the unique key of slots begins without the stage, and the one by stage ends without
-- the sender, so that each look at the few open slots went through all that ever were.
CREATE INDEX slots_by_sender ON slots (chain_id, stage, sender, nonce);
