-- Work that failed too often. ended_at = 0 is an open letter, and the last key allows one per subject. The
-- subject is a withdrawal's id or a slot's; the letter is about it and never instead of it.
CREATE TABLE dead_letters (
    id            BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    queue         VARCHAR(32)   NOT NULL,
    subject       VARBINARY(16) NOT NULL,
    tenant_id     VARBINARY(16),
    message       MEDIUMTEXT    NOT NULL,
    error_type    VARCHAR(255)  NOT NULL,
    error_code    TEXT,
    error_message TEXT          NOT NULL,
    error_details MEDIUMTEXT,
    attempts      INT           NOT NULL,
    redrives      INT           NOT NULL,
    failed_at     BIGINT        NOT NULL,
    redrive_at    BIGINT,
    ended_at      BIGINT        NOT NULL,
    ended_how     VARCHAR(32),
    ended_by      TEXT,
    end_reason    TEXT,
    UNIQUE KEY dead_letters_by_subject (queue, subject, ended_at),
    KEY dead_letters_open (ended_at, redrive_at),
    CONSTRAINT dead_letters_queue_is CHECK (queue IN ('request-dlq', 'signed-tx-dlq', 'broadcast-tx-dlq')),
    CONSTRAINT dead_letters_ended_how_is CHECK (ended_how IN ('redriven', 'resolved', 'discarded'))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
