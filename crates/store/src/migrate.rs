//! Migrations: numbered, append-only, checked at every start.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, MySqlPool};

use crate::db::Store;
use crate::dialect::Pool;
use crate::error::StoreError;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

/// The name of the lock that one migrating process has, one for each database of a server.
const MIGRATION_LOCK: &str = "CONCAT('portcullis.', SHA1(DATABASE()))";
const MIGRATION_WAIT_SECONDS: u32 = 600;

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";

const RECORDED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";

/// A migration as the database remembers it: its number, whether it was applied in full, and the checksum of its text.
type Recorded = (i64, bool, Vec<u8>);

/// Which schema the database has, and which this binary knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The newest migration that the database has; 0 when it is empty.
    pub current: i64,
    /// The newest that this binary knows.
    pub known: i64,
    /// How many are still to be applied.
    pub pending: u64,
}

impl Store {
    /// Applies what is missing and returns the schema's version. Processes that start together may
    /// all do so: what another one applied meanwhile is not applied again. Where nothing is missing, the account needs no more
    /// than to read.
    ///
    /// # Errors
    /// When the database knows migrations that this binary does not, or one was edited.
    pub async fn migrate(&self) -> Result<i64, StoreError> {
        loop {
            let before = self.schema_status().await?;
            if before.current > before.known {
                return Err(Self::newer_schema(before));
            }
            if before.pending == 0 {
                // Not by the migrator, which makes its own table before it compares anything.
                let recorded = self.pool.recorded().await;
                let recorded =
                    recorded.map_err(|error| StoreError::of_driver("migrate", &error))?;
                return match difference(&recorded, self.pool.migrations()) {
                    None => Ok(before.known),
                    Some(error) => Err(migration_failed(&error)),
                };
            }
            let Err(error) = self.pool.apply_missing().await else {
                return Ok(before.known);
            };
            // Where the database came further all the same, another process was first.
            if self.schema_status().await?.current <= before.current {
                return Err(migration_failed(&error));
            }
        }
    }

    /// Refuses a database that this binary was not made for.
    ///
    /// # Errors
    /// [`StoreError::Schema`], with what to do.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let status = self.schema_status().await?;
        if status.current > status.known {
            return Err(Self::newer_schema(status));
        }
        if status.pending > 0 {
            return Err(StoreError::Schema {
                found: status.current,
                known: status.known,
                remedy: "run `portcullis migrate up`",
            });
        }
        Ok(())
    }

    /// Compares the database's schema with this binary's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn schema_status(&self) -> Result<SchemaStatus, StoreError> {
        let migrations = self.pool.migrations();
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        let applied = self.pool.applied().await;
        let applied = applied.map_err(|error| StoreError::of_driver("schema_status", &error))?;
        let pending = migrations.iter().filter(|m| !applied.contains(&m.version)).count();
        let current = applied.last().copied().unwrap_or(0);
        Ok(SchemaStatus { current, known, pending: pending as u64 })
    }

    const fn newer_schema(status: SchemaStatus) -> StoreError {
        StoreError::Schema {
            found: status.current,
            known: status.known,
            remedy: "start the newer binary that made it",
        }
    }
}

impl Pool {
    const fn migrations(&self) -> &'static Migrator {
        match self {
            Self::Sqlite(_) => &SQLITE,
            Self::MySql(_) => &MYSQL,
        }
    }

    async fn apply_missing(&self) -> Result<(), MigrateError> {
        match self {
            Self::Sqlite(pool) => Box::pin(SQLITE.run(pool)).await,
            Self::MySql(pool) => Box::pin(migrate_server(pool)).await,
        }
    }

    /// The migrations that were applied in full, by number; none where nothing ever was.
    async fn applied(&self) -> Result<Vec<i64>, sqlx::Error> {
        let has_table: i64 = match self {
            Self::Sqlite(pool) => {
                let sql = "SELECT count(*) FROM sqlite_master \
                           WHERE type = 'table' AND name = '_sqlx_migrations'";
                sqlx::query_scalar(sql).fetch_one(pool).await?
            }
            Self::MySql(pool) => {
                let sql = "SELECT count(*) FROM information_schema.tables \
                           WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'";
                sqlx::query_scalar(sql).fetch_one(pool).await?
            }
        };
        match self {
            _ if has_table == 0 => Ok(Vec::new()),
            Self::Sqlite(pool) => sqlx::query_scalar(APPLIED).fetch_all(pool).await,
            Self::MySql(pool) => sqlx::query_scalar(APPLIED).fetch_all(pool).await,
        }
    }

    /// All that the database remembers of its migrations. There is such a table.
    async fn recorded(&self) -> Result<Vec<Recorded>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => sqlx::query_as(RECORDED).fetch_all(pool).await,
            Self::MySql(pool) => sqlx::query_as(RECORDED).fetch_all(pool).await,
        }
    }
}

/// The first thing that is not as in this binary, in the migrator's own words.
fn difference(recorded: &[Recorded], known: &Migrator) -> Option<MigrateError> {
    recorded.iter().find_map(|(version, is_whole, checksum)| {
        if !is_whole {
            return Some(MigrateError::Dirty(*version));
        }
        match known.iter().find(|migration| migration.version == *version) {
            None => Some(MigrateError::VersionMissing(*version)),
            Some(migration) if migration.checksum.as_ref() != checksum.as_slice() => {
                Some(MigrateError::VersionMismatch(*version))
            }
            Some(_) => None,
        }
    })
}

/// One process at a time. The migrator asks for a lock without an end, which MariaDB does not know, and goes on without one.
async fn migrate_server(pool: &MySqlPool) -> Result<(), MigrateError> {
    let mut connection = Box::pin(pool.acquire()).await?;
    let lock = format!("SELECT GET_LOCK({MIGRATION_LOCK}, {MIGRATION_WAIT_SECONDS})");
    let got: Option<i64> =
        sqlx::query_scalar(AssertSqlSafe(lock)).fetch_one(&mut *connection).await?;
    if got != Some(1) {
        return Err(MigrateError::Execute(sqlx::Error::PoolTimedOut));
    }
    let outcome = Box::pin(MYSQL.run_direct(None, &mut *connection, false)).await;
    let release = format!("SELECT RELEASE_LOCK({MIGRATION_LOCK})");
    // Lost with the connection, the lock is free all the same.
    let _released = sqlx::query(AssertSqlSafe(release)).execute(&mut *connection).await;
    outcome
}

fn migration_failed(error: &MigrateError) -> StoreError {
    let during = "migrate";
    match error {
        MigrateError::Execute(driver) | MigrateError::ExecuteMigration(driver, _) => {
            StoreError::of_driver(during, driver)
        }
        other => StoreError::Database { during, cause: other.to_string() },
    }
}
