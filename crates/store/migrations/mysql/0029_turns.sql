-- The order of payment: each live row has the instant of its turn, and one index gives the next few hundred of a stage
-- and chain in that order without looking at the table. The numbers are the head starts of core's module turn.
ALTER TABLE work ADD COLUMN turn_at BIGINT NOT NULL DEFAULT 0;
UPDATE work SET turn_at = entered_at - CASE priority WHEN 2 THEN 3600000 WHEN 1 THEN 600000 ELSE 0 END;
ALTER TABLE work
    DROP INDEX work_by_stage,
    ADD INDEX work_by_turn (stage, chain_id, turn_at, withdrawal_id, due_at);
