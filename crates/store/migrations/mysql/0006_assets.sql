-- token is the contract, or 20 zero bytes for the chain's native coin. Amounts are atomic units in decimal text.
CREATE TABLE assets (
    id          VARBINARY(16) NOT NULL PRIMARY KEY,
    chain_id    BIGINT        NOT NULL,
    symbol      VARCHAR(255)  NOT NULL,
    token       VARBINARY(20) NOT NULL,
    decimals    INT           NOT NULL,
    amount_min  VARCHAR(80)   NOT NULL,
    amount_max  VARCHAR(80)   NOT NULL,
    daily_max   VARCHAR(80),
    enabled     INT           NOT NULL,
    created_at  BIGINT        NOT NULL,
    seal_key_id BIGINT        NOT NULL,
    mac         VARBINARY(32) NOT NULL,
    UNIQUE KEY assets_by_symbol (chain_id, symbol),
    UNIQUE KEY assets_by_token (chain_id, token),
    CONSTRAINT assets_decimals_is CHECK (decimals BETWEEN 0 AND 77),
    CONSTRAINT assets_enabled_is CHECK (enabled IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
