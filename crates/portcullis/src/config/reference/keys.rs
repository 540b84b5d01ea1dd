//! Every key, once: what it holds, what holds where it is not set, and what it means.

use super::signer::SIGNER;
use super::{Entry, Kind, entry};

use Kind::{Flag, Integer, Path, Secret, Text, Words};

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const SERVER: &[Entry] = &[
    entry(
        "server.listen",
        Text,
        "127.0.0.1:3000",
        "Where the API listens, and probes and metrics with it.",
    ),
    entry(
        "server.probe_listen",
        Text,
        "",
        "Where a process without the API serves probes and metrics; default: the host of listen, the port of its role.",
    ),
    entry(
        "server.docs_base_url",
        Text,
        "",
        "Where the guide is published; default: this project's own.",
    ),
    entry(
        "server.worker_threads",
        Integer(1, 64),
        "",
        "Threads for roles and API; default: the processors, 2 to 4.",
    ),
    entry(
        "server.connections_max",
        Integer(1, 1_000_000),
        "4096",
        "The most connections at once; one above is closed at once.",
    ),
    entry(
        "server.drain_ms",
        Integer(0, 120_000),
        "10000",
        "How long open requests may take after a stop was asked for.",
    ),
    entry(
        "server.strict_credentials",
        Flag,
        "",
        "Whether a process is refused that was given secrets of another role; default: true unless the database is an embedded one.",
    ),
];

const INTAKE: &[Entry] = &[
    entry(
        "intake.queue_max",
        Integer(1, 10_000_000),
        "250000",
        "The most withdrawals that wait to be bound to a transaction; above it new ones get QUEUE_FULL.",
    ),
    entry(
        "intake.waiting_max",
        Integer(500, 1_000_000),
        "10000",
        "The most requests of this process that wait for their commit.",
    ),
    entry(
        "intake.requests_max",
        Integer(32, 1_000_000),
        "4096",
        "The most requests with a body that are under way in this process.",
    ),
    entry(
        "intake.key_requests_per_second",
        Integer(1, 1_000_000),
        "",
        "The most requests of one API key in a second, and twice as many at once; counted together where there is a Redis. Default: no limit.",
    ),
];

const STATE: &[Entry] = &[
    entry("data.dir", Path, "data", "The directory of the embedded database."),
    entry(
        "database.url",
        Secret,
        "",
        "sqlite:///path, the path of an SQLite file, or mysql://user:password@host:3306/name; default: portcullis.db in data.dir. Environment: DATABASE_URL.",
    ),
    entry(
        "database.auto_migrate",
        Flag,
        "true",
        "Whether serve and admin bring the schema up to date by themselves.",
    ),
    entry(
        "database.replica_url",
        Secret,
        "",
        "A server that follows the first one: lists of withdrawals are read from it, and may be a moment old.",
    ),
    entry(
        "database.readers_max",
        Integer(1, 64),
        "4",
        "Connections that read. To a file one more writes.",
    ),
    entry("database.writers_max", Integer(1, 64), "8", "Connections that write to a server."),
    entry(
        "database.busy_timeout_ms",
        Integer(10, 60_000),
        "2000",
        "How long a statement waits for another process, or for a free connection.",
    ),
    entry(
        "database.slow_query_ms",
        Integer(0, 600_000),
        "500",
        "Statements that take as long are logged with the transaction that they belong to. 0 logs none.",
    ),
];

const FLEET: &[Entry] = &[
    entry(
        "queue.type",
        Words(&["local", "aws", "localstack"]),
        "local",
        "Who carries doorbells between processes: nobody, Amazon SQS, or an emulator of it. Environment: QUEUE_TYPE.",
    ),
    entry("queue.region", Text, "us-east-1", "The region of the queues. Environment: AWS_REGION."),
    entry(
        "queue.endpoint",
        Text,
        "",
        "Another endpoint than the region's; default with localstack: http://127.0.0.1:4566.",
    ),
    entry("queue.prefix", Text, "", "What the names of this deployment's queues begin with."),
    entry(
        "redis.url",
        Secret,
        "",
        "redis://[user:password@]host[:port][/database]. Without it each process remembers for itself. Environment: REDIS_URL.",
    ),
    entry(
        "redis.prefix",
        Text,
        "portcullis",
        "What its keys and channels begin with: deployments on one Redis differ in it.",
    ),
    entry(
        "redis.timeout_ms",
        Integer(10, 5_000),
        "100",
        "How long one exchange may take; after three late ones Redis is left alone for a while.",
    ),
];

const LOG: &[Entry] = &[
    entry(
        "log.level",
        Words(LEVELS),
        "info",
        "Of Portcullis itself; libraries speak from warn on. Flag: --log-level.",
    ),
    entry(
        "log.filter",
        Text,
        "",
        "Levels of single targets above that: portcullis_engine=debug,sqlx=info.",
    ),
    entry(
        "log.format",
        Words(&["json", "text"]),
        "",
        "Default: text on a terminal, else json. Flag: --log-format.",
    ),
];

const SEAL: &[Entry] = &[
    entry(
        "seal.key",
        Secret,
        "",
        "Required: 64 hexadecimal digits. Seals every accepted withdrawal; keep a copy apart from the backups.",
    ),
    entry("seal.key_id", Integer(1, 4_294_967_295), "1", "The key's number, kept with every seal."),
    entry("seal.previous.key", Secret, "", "An older key, which only verifies."),
    entry("seal.previous.key_id", Integer(1, 4_294_967_295), "", "Its number; required there."),
];

const ENGINE: &[Entry] = &[
    entry(
        "engine.batch_max",
        Integer(1, 500),
        "200",
        "Withdrawals that one step takes. Environment: BATCH_SIZE.",
    ),
    entry(
        "engine.vault_items_max",
        Integer(1, 200),
        "50",
        "Payments of the vault rail in one transaction.",
    ),
    entry(
        "engine.batch_queue_min",
        Integer(1, 200),
        "5",
        "From as many payments in the queue on, they travel in batches.",
    ),
    entry(
        "engine.batch_token_min",
        Integer(1, 200),
        "3",
        "From as many payments of a token on, it has batches of its own.",
    ),
    entry(
        "engine.batch_linger_max_ms",
        Integer(0, 60_000),
        "200",
        "The longest that a batch waits for more payments.",
    ),
    entry(
        "engine.batch_block_share_percent",
        Integer(1, 100),
        "10",
        "The share of a block's gas that one transaction of the vault may ask for.",
    ),
    entry(
        "engine.poll_interval_ms",
        Integer(10, 60_000),
        "250",
        "How long a role waits for a doorbell before it looks by itself.",
    ),
    entry(
        "engine.in_flight_max",
        Integer(1, 8),
        "8",
        "Transactions of one sender that are not yet mined.",
    ),
    entry(
        "engine.rebroadcast_after_ms",
        Integer(500, 3_600_000),
        "15000",
        "How long after a send the same bytes are sent again.",
    ),
    entry(
        "engine.bump_after_ms",
        Integer(1_000, 86_400_000),
        "30000",
        "How long after its newest bytes a fresh standard payment gets a dearer attempt.",
    ),
    entry(
        "engine.lease_ms",
        Integer(3_000, 600_000),
        "15000",
        "How long a lease holds without being prolonged.",
    ),
];

const ASSET: &[Entry] = &[
    entry(
        "asset.min",
        Text,
        "",
        "What `admin asset add` takes for --min, in units of the asset. Environment: MIN_WITHDRAWAL_AMOUNT.",
    ),
    entry("asset.max", Text, "", "The same for --max. Environment: MAX_WITHDRAWAL_AMOUNT."),
    entry(
        "asset.daily_max",
        Text,
        "",
        "The same for --daily-max. Environment: DAILY_WITHDRAWAL_LIMIT.",
    ),
];

const CHAIN: &[Entry] = &[
    entry(
        "chain.network",
        Text,
        "",
        "Required: polygon, polygon-amoy, localhost, ethereum, … Environment: POLYGON_CHAIN_ID, with POLYGON_RPC_URL.",
    ),
    entry(
        "chain.max_fee_per_gas_gwei",
        Integer(1, 1_000_000),
        "",
        "The hard cap of maxFeePerGas; default: the network's own.",
    ),
    entry(
        "chain.transaction_fee_wei_max",
        Text,
        "",
        "The most that one transaction's fee may cost, in wei.",
    ),
    entry(
        "chain.gas_limit_max",
        Integer(21_000, 1 << 32),
        "",
        "The highest gas limit that is signed; default: the network's own.",
    ),
    entry(
        "chain.vault",
        Text,
        "",
        "The address of the network's PayoutVault; without it every payment is a plain transfer.",
    ),
    entry(
        "chain.quorum",
        Integer(1, 16),
        "",
        "How many independent operators have to agree; default: 2, or 1 with a single operator.",
    ),
    entry("chain.provider.name", Text, "", "Required: what logs and metrics call it."),
    entry(
        "chain.provider.operator",
        Text,
        "",
        "Who runs it; default: its name. Two providers of one operator are not independent.",
    ),
    entry(
        "chain.provider.url",
        Secret,
        "",
        "Required: its JSON-RPC URL. Environment: POLYGON_RPC_URL for the first one of Polygon.",
    ),
    entry(
        "chain.provider.timeout_ms",
        Integer(100, 60_000),
        "10000",
        "How long one exchange may take.",
    ),
    entry(
        "chain.provider.requests_per_second",
        Integer(1, 100_000),
        "",
        "What its plan allows; default: no limit.",
    ),
    entry("chain.provider.batch_max", Integer(1, 1_000), "100", "Requests in one JSON-RPC batch."),
    entry(
        "chain.cap.token",
        Text,
        "",
        "Required: native, or the token's address. A token without a cap is not signed for.",
    ),
    entry("chain.cap.amount_max", Text, "", "Required: the most of one payment, in atomic units."),
];

/// All of them. What repeats comes last.
pub(super) const GROUPS: [&[Entry]; 10] =
    [SERVER, INTAKE, STATE, FLEET, LOG, SEAL, SIGNER, ENGINE, ASSET, CHAIN];
