//! What an administrative command works with.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::seal::SealingKeys;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_store::{Store, StoreOptions, TimeSource};

use crate::config::Config;
use crate::failure::Failure;
use crate::guard;
use crate::output::Output;

/// An open store, and who asks.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// The store's.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) output: Output,
    /// Who does it, as the audit log names them.
    pub(crate) actor: String,
}

impl Session {
    /// Opens the store and brings its schema up to date where the configuration allows it.
    pub(crate) async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        output: Output,
    ) -> Result<Self, Failure> {
        let store = open_store(&config, clock).await?;
        let clock = store.clock();
        ready_schema(&store, &config).await?;
        Ok(Self { store, config, clock, output, actor: crate::actor::actor() })
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The keys that administrative rows are sealed with.
    pub(crate) fn sealing_keys(&self) -> Result<SealingKeys, Failure> {
        Ok(self.config.seal.keys()?)
    }
}

/// Opens the database of the configuration; its directory is made where it is the data directory. A backup that lies
/// beside the write-ahead log of another database is refused: opening it would mix the two for good.
pub(crate) async fn open_store(config: &Config, clock: Arc<dyn Clock>) -> Result<Store, Failure> {
    guard::refuse_mixed_files(config)?;
    let url = config.database.url()?;
    if config.database.is_default() {
        make_directory(&config.data.dir)?;
    }
    let options = StoreOptions {
        url,
        readers_max: config.database.readers_max,
        writers_max: config.database.writers_max,
        busy_timeout_ms: config.database.busy_timeout_ms,
        replica_url: config.database.replica_url()?,
        slow_query_ms: config.database.slow_query_ms,
        time: TimeSource::Database,
    };
    Store::open(&options, clock)
        .await
        .map_err(|error| Failure::of_store("cannot open the database", &error))
}

/// Applies what is pending where that is allowed, and refuses a schema that this binary does not know.
pub(crate) async fn ready_schema(store: &Store, config: &Config) -> Result<(), Failure> {
    let refused = |error| Failure::of_store("the database schema", &error);
    if config.database.auto_migrate {
        store.migrate().await.map_err(refused)?;
    }
    store.check_schema().await.map_err(refused)
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot make the data directory {}: {error}; set data.dir",
            path.display()
        ))
    })
}
