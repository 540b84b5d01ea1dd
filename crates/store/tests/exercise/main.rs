//! The store's exercise suite: what every database behind [`portcullis_store::Store`] has to do.
//!
//! Tests speak to the store through its public interface. What they look at or damage behind its back
//! goes through [`fixture::Fixture`], in SQL that both dialects read.

mod accepted;
mod access;
mod alarms;
mod assets;
mod audit;
mod backup;
mod behind;
mod cancellation;
mod cancels;
mod chain;
mod commands;
mod contention;
mod damage;
mod dead_letters;
mod deposit;
mod files;
mod fixture;
mod follow;
mod gaps;
mod gas;
mod intake;
mod intake_group;
mod intake_leader;
mod joining;
mod lease;
mod ledger;
mod life;
mod migrations;
mod oracle;
mod pictures;
mod polls;
mod quarantine;
mod queue;
mod rail;
mod reading;
mod releases;
mod reopen;
mod room;
mod schema;
mod send;
mod size;
mod slots;
mod turns;
mod validate;
mod vault;
mod walk;

/// This program is for files; `mariadb` runs the same tests on a server.
pub(crate) const DATABASE: fixture::Database = fixture::Database::Sqlite;
