//! Migrations: numbered, append-only, checked at every start.

use sqlx::migrate::Migrator;

use crate::db::Store;
use crate::error::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

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
    /// Applies what is missing and returns the schema's version.
    ///
    /// # Errors
    /// When the database knows migrations that this binary does not, or one was edited.
    pub async fn migrate(&self) -> Result<i64, StoreError> {
        let status = self.schema_status().await?;
        if status.current > status.known {
            return Err(Self::newer_schema(status));
        }
        MIGRATIONS.run(&self.write_pool).await.map_err(|error| StoreError::Database {
            during: "migrate",
            cause: error.to_string(),
        })?;
        Ok(status.known)
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
        let failed = |error: sqlx::Error| StoreError::Unavailable {
            during: "schema_status",
            cause: error.to_string(),
        };
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let has_table: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
        )
        .fetch_one(&self.write_pool)
        .await
        .map_err(failed)?;
        let applied: Vec<i64> = if has_table == 0 {
            Vec::new()
        } else {
            sqlx::query_scalar(
                "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version",
            )
            .fetch_all(&self.write_pool)
            .await
            .map_err(failed)?
        };
        let pending = MIGRATIONS.iter().filter(|m| !applied.contains(&m.version)).count();
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
