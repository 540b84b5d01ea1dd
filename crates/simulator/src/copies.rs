//! Old copies of the database, and second engines: what a seed's scenario brings.

use std::path::{Path, PathBuf};

use portcullis_store::Store;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::chaos::Chaos;
use crate::client::{Asked, index_below};
use crate::machine::{Seat, is_journal_refused};
use crate::scenario::{Second, Stage};
use crate::scheduler::{Run, SimulationError};

/// Moves before the first copy, and between one and the use of it.
const COPY_AFTER_MOVES: u64 = 250;
const USE_AFTER_MOVES: u64 = 250;

/// Copies that are kept at most.
const COPIES: usize = 3;

/// The number of the second engine.
const SECOND: usize = 1;

/// A copy of the database as it once was.
pub(crate) struct OldCopy {
    path: PathBuf,
    taken_at_move: u64,
}

impl Run {
    /// The next thing that the scenario has, if its time has come.
    pub(crate) async fn follow_scenario(&mut self) -> Result<(), SimulationError> {
        if self.moves < COPY_AFTER_MOVES {
            return Ok(());
        }
        if self.scenario.awaits_vault && self.entropy.chance(1, 4) {
            return self.configure_vault().await;
        }
        match self.scenario.second_stage {
            Stage::Ahead => return self.begin_second().await,
            Stage::Running { since } if self.moves > since.saturating_add(600) => {
                return self.end_second().await;
            }
            Stage::Running { .. } | Stage::Over => {}
        }
        if self.scenario.restores > 0 || self.scenario.silent_restores > 0 {
            return self.follow_copies().await;
        }
        Ok(())
    }

    /// All engines stop, and start with a vault.
    async fn configure_vault(&mut self) -> Result<(), SimulationError> {
        self.trace("the engines are configured with a vault");
        self.scenario.awaits_vault = false;
        self.world.is_vault_on = true;
        let running: Vec<usize> = (0..self.engines.len())
            .filter(|engine| self.engines[*engine].machine.is_some())
            .collect();
        for engine in &running {
            self.shut_down(*engine);
        }
        for engine in running {
            self.restart_engine(engine).await?;
        }
        Ok(())
    }

    async fn begin_second(&mut self) -> Result<(), SimulationError> {
        let first = self.engines[self.main].seat.clone();
        let seat = match self.scenario.second {
            Second::None => {
                self.scenario.second_stage = Stage::Over;
                return Ok(());
            }
            Second::SameDatabase { signs } => {
                self.outcome.counts.count(Chaos::SecondEngines);
                let keystore = first.keystore.clone().filter(|_| signs);
                Seat { instance: "second", keystore, is_operated: false, ..first }
            }
            // Neither takes in requests: two intakes would give one request two numbers.
            Second::Copy { .. } => {
                self.outcome.counts.count(Chaos::Copies);
                let keystore = self.world.keystore();
                if !is_journal_refused(&self.world, &keystore)? {
                    self.outcome.problems.push("a second signer got the journal".into());
                }
                self.second_on_copy(None).await?
            }
            Second::CopyWithJournal => {
                self.outcome.counts.count(Chaos::SecondJournals);
                let keystore = self.copy_keys()?;
                self.second_on_copy(Some(keystore)).await?
            }
        };
        self.trace(&format!("a second engine starts: {:?}", self.scenario.second));
        self.start_engine(seat).await?;
        self.scenario.second_stage = Stage::Running { since: self.moves };
        Ok(())
    }

    async fn second_on_copy(&self, keystore: Option<PathBuf>) -> Result<Seat, SimulationError> {
        let copy = self.world.directory.path().join("second.db");
        let database = &self.engines[self.main].seat.database;
        copy_database(database, &copy).await.map_err(|error| failed(&error))?;
        Ok(Seat { instance: "second", database: copy, keystore, serves: false, is_operated: false })
    }

    /// A copy of the keystore's directory, with the journal in it.
    fn copy_keys(&self) -> Result<PathBuf, SimulationError> {
        let failed = |error: std::io::Error| SimulationError::Copy(error.to_string());
        let copy = self.world.directory.path().join("second-keys");
        std::fs::create_dir(&copy).map_err(failed)?;
        let keystore = self.world.keystore();
        let source = keystore.parent().unwrap_or(Path::new("."));
        for entry in std::fs::read_dir(source).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            std::fs::copy(entry.path(), copy.join(entry.file_name())).map_err(failed)?;
        }
        Ok(copy.join("keystore.json"))
    }

    /// One of the two engines ends: usually the second. Where that one has a copy of the database, it may
    /// take over: with the journal, which knows more than it does, and with the clients.
    async fn end_second(&mut self) -> Result<(), SimulationError> {
        self.scenario.second_stage = Stage::Over;
        if self.scenario.second != (Second::Copy { takes_over: true }) {
            self.trace("the second engine ends");
            self.shut_down(SECOND);
            return Ok(());
        }
        self.trace("the first engine ends, and the second one takes over");
        self.shut_down(self.main);
        let keystore = Some(self.world.keystore());
        let seat = &mut self.engines[SECOND].seat;
        *seat = Seat { keystore, serves: true, is_operated: true, ..seat.clone() };
        self.main = SECOND;
        self.restart_engine(SECOND).await?;
        self.ask_everything_again();
        Ok(())
    }

    /// Takes copies, and puts one of them back when it is old enough.
    async fn follow_copies(&mut self) -> Result<(), SimulationError> {
        let old_enough =
            |copy: &&OldCopy| self.moves >= copy.taken_at_move.saturating_add(USE_AFTER_MOVES);
        let old: Vec<PathBuf> =
            self.copies.iter().filter(old_enough).map(|copy| copy.path.clone()).collect();
        if old.is_empty() || (self.copies.len() < COPIES && self.entropy.chance(1, 2)) {
            return self.take_copy().await;
        }
        let copy = &old[index_below(&mut self.entropy, old.len())];
        if self.scenario.restores > 0 {
            self.restore(copy).await?;
        } else {
            self.restore_silently(copy).await?;
        }
        self.copies.clear();
        self.ask_everything_again();
        Ok(())
    }

    /// Puts a copy back as `portcullis restore` does: the engine is stopped, numbers come from a new epoch,
    /// and nothing is taken in or signed before an operator has reconciled.
    async fn restore(&mut self, copy: &Path) -> Result<(), SimulationError> {
        self.trace("the engine is stopped, and an old copy put back");
        self.outcome.counts.count(Chaos::Restores);
        self.scenario.restores = self.scenario.restores.saturating_sub(1);
        let stores: Vec<Store> = self
            .engines
            .iter()
            .filter_map(|engine| engine.machine.as_ref().map(|machine| machine.store.clone()))
            .collect();
        for engine in 0..self.engines.len() {
            self.shut_down(engine);
        }
        for store in stores {
            // Until the last connection is closed, somebody may write to the file.
            store.close().await;
        }
        let database = self.engines[self.main].seat.database.clone();
        replace_files(copy, &database).map_err(|error| SimulationError::Copy(error.to_string()))?;
        self.world.gate.set_closed(false);
        let store = self.world.open_store(&database).await?;
        let epoch = store.next_number().await?.epoch;
        store.open_epoch_above(epoch, "restore").await?;
        store.raise_halt("restore", "an old copy of the database was put back").await?;
        store.close().await;
        self.restart_engine(self.main).await
    }

    /// Puts a copy back under the running engine.
    async fn restore_silently(&mut self, copy: &Path) -> Result<(), SimulationError> {
        self.trace("an old copy takes the place of the database");
        self.outcome.counts.count(Chaos::SilentRestores);
        self.scenario.silent_restores = self.scenario.silent_restores.saturating_sub(1);
        let database = self.engines[self.main].seat.database.clone();
        put_back(copy, &database).await.map_err(|error| failed(&error))
    }

    async fn take_copy(&mut self) -> Result<(), SimulationError> {
        let name = format!("copy-{}.db", self.moves);
        let path = self.world.directory.path().join(name);
        let database = &self.engines[self.main].seat.database;
        copy_database(database, &path).await.map_err(|error| failed(&error))?;
        self.trace("a copy of the database is taken");
        self.copies.push(OldCopy { path, taken_at_move: self.moves });
        Ok(())
    }

    /// The clients post all that they ever asked for, also what was answered before.
    fn ask_everything_again(&mut self) {
        for wish in &mut self.wishes {
            match wish.asked {
                Asked::Accepted => wish.asked = Asked::Open,
                Asked::UnderWay => wish.asks_again = true,
                Asked::Open => {}
            }
        }
    }
}

/// Replaces a database that nobody has open.
fn replace_files(copy: &Path, database: &Path) -> std::io::Result<()> {
    for leftover in ["-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(leftover);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::copy(copy, database).map(|_| ())
}

fn failed(error: &sqlx::Error) -> SimulationError {
    SimulationError::Copy(error.to_string())
}

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(database).foreign_keys(false)
}

/// One consistent picture of a database that others write to.
async fn copy_database(database: &Path, copy: &Path) -> Result<(), sqlx::Error> {
    let mut connection = options(database).connect().await?;
    let vacuum = format!("VACUUM INTO '{}'", copy.display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum)).execute(&mut connection).await?;
    sqlx::Connection::close(connection).await
}

/// Makes the content of a database that of an old copy, in one transaction, under those who have it open.
async fn put_back(copy: &Path, database: &Path) -> Result<(), sqlx::Error> {
    let mut connection = options(database).connect().await?;
    let attach = format!("ATTACH DATABASE '{}' AS old", copy.display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(attach)).execute(&mut connection).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM old.sqlite_master WHERE type = 'table' AND (name NOT LIKE 'sqlite_%' OR name = 'sqlite_sequence')",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut script = String::from("BEGIN IMMEDIATE;");
    for table in tables {
        let moves = ["DELETE FROM main.", &table, "; INSERT INTO main.", &table];
        script.extend(moves);
        script.extend([" SELECT * FROM old.", &table, ";"]);
    }
    script.push_str("COMMIT;");
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await?;
    sqlx::Connection::close(connection).await
}
