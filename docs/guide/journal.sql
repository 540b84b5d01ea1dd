-- The signer's journal as a database of its own (MySQL 8 or MariaDB 10.6 and later), and the user that writes it. Run it
-- once, as an administrator, with your own password in place of the one below:
--
--     mysql --user=root --password < docs/guide/journal.sql
--
-- Keep it on another server than the withdrawals, or at least give nobody an account that reaches both. It must never come back
-- older than it is: no restore, no failover to a replica that lags. The server needs innodb_flush_log_at_trx_commit = 1.

CREATE DATABASE portcullis_journal CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row a line. Every line holds the hash of the one before it, and its number is taken once: who appends has read all
-- that is there.
CREATE TABLE portcullis_journal.journal_lines (
    line BIGINT UNSIGNED NOT NULL,
    content MEDIUMTEXT NOT NULL,
    PRIMARY KEY (line)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The first attempt of a slot says what the slot is for, for ever.
CREATE TABLE portcullis_journal.journal_slots (
    chain_id BIGINT UNSIGNED NOT NULL,
    sender BINARY(20) NOT NULL,
    nonce BIGINT UNSIGNED NOT NULL,
    payload_digest BINARY(32) NOT NULL,
    line BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (chain_id, sender, nonce)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The first ride of a request, the second after that one was released, and so on: each is taken once.
CREATE TABLE portcullis_journal.journal_rides (
    reference BINARY(32) NOT NULL,
    ride INT UNSIGNED NOT NULL,
    line BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (reference, ride)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The signer adds lines and reads them. It refuses an account that may do more. Away from this host, add REQUIRE SSL.
CREATE USER 'portcullis_journal'@'%' IDENTIFIED BY 'change-me';
GRANT SELECT, INSERT ON portcullis_journal.* TO 'portcullis_journal'@'%';
