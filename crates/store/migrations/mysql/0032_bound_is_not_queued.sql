-- What a slot carries is in no queue: rows of withdrawals that were bound and not yet signed stood among those that wait for the signer.
UPDATE work SET stage = 'broadcast'
WHERE stage = 'sign' AND withdrawal_id IN (SELECT id FROM withdrawals WHERE state = 'SIGNING');
