//! The store: everything that Portcullis knows, in SQL, behind records made of core types.
//!
//! Every write is a named transaction whose updates are compare-and-set and assert their row
//! counts. SeaORM builds the statements and never leaves this crate.

pub mod access;
pub mod alarm;
pub mod asset;
pub mod audit;
pub mod backup;
pub mod cancel;
pub mod chain;
pub mod command;
mod commit;
mod connect;
mod convert;
pub mod damage;
mod db;
pub mod dead_letter;
pub mod deployment;
pub mod deposit;
mod dialect;
mod entity;
pub mod error;
mod gap;
mod gas;
pub mod intake;
pub mod lease;
pub mod ledger;
mod lookup;
mod migrate;
mod quarantine;
pub mod reconcile;
mod room;
pub mod send;
pub mod sender;
mod server_clock;
mod session;
pub mod slot;
mod slot_moves;
mod slot_rows;
mod statements;
mod timeline;
pub mod transition;
mod trip;
mod unique_key;
mod window;
pub mod withdrawal;
pub mod work;
mod writer_turns;

pub use connect::{check_server_url, is_in_memory, shown as shown_url};
pub use db::{Store, StoreOptions};
pub use dialect::TimeSource;
pub use error::StoreError;
pub use migrate::SchemaStatus;
pub use room::FullDisk;
pub use timeline::TimelineEvent;
pub use unique_key::{UNIQUE_KEYS, UniqueKey};
