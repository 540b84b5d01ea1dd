//! The store's exercise suite on a MariaDB server: the same tests as on files, and what is so of a server alone.

#[path = "exercise/accepted.rs"]
mod accepted;
#[path = "exercise/access.rs"]
mod access;
#[path = "exercise/alarms.rs"]
mod alarms;
#[path = "exercise/assets.rs"]
mod assets;
#[path = "exercise/audit.rs"]
mod audit;
#[path = "mariadb/bad_days.rs"]
mod bad_days;
#[path = "exercise/behind.rs"]
mod behind;
#[path = "exercise/cancellation.rs"]
mod cancellation;
#[path = "exercise/cancels.rs"]
mod cancels;
#[path = "exercise/chain.rs"]
mod chain;
#[path = "exercise/commands.rs"]
mod commands;
#[path = "exercise/contention.rs"]
mod contention;
#[path = "exercise/damage.rs"]
mod damage;
#[path = "exercise/dead_letters.rs"]
mod dead_letters;
#[path = "exercise/deposit.rs"]
mod deposit;
#[path = "mariadb/encrypted.rs"]
mod encrypted;
#[path = "exercise/fixture.rs"]
mod fixture;
#[path = "exercise/follow.rs"]
mod follow;
#[path = "exercise/gaps.rs"]
mod gaps;
#[path = "exercise/gas.rs"]
mod gas;
#[path = "exercise/intake.rs"]
mod intake;
#[path = "exercise/intake_group.rs"]
mod intake_group;
#[path = "exercise/intake_leader.rs"]
mod intake_leader;
#[path = "exercise/joining.rs"]
mod joining;
#[path = "exercise/lease.rs"]
mod lease;
#[path = "exercise/ledger.rs"]
mod ledger;
#[path = "exercise/life.rs"]
mod life;
#[path = "mariadb/locks.rs"]
mod locks;
#[path = "exercise/migrations.rs"]
mod migrations;
#[path = "exercise/oracle.rs"]
mod oracle;
#[path = "exercise/pictures.rs"]
mod pictures;
#[path = "exercise/polls.rs"]
mod polls;
#[path = "exercise/quarantine.rs"]
mod quarantine;
#[path = "exercise/queue.rs"]
mod queue;
#[path = "exercise/rail.rs"]
mod rail;
#[path = "exercise/reading.rs"]
mod reading;
#[path = "exercise/releases.rs"]
mod releases;
#[path = "exercise/reopen.rs"]
mod reopen;
#[path = "exercise/room.rs"]
mod room;
#[path = "mariadb/schema.rs"]
mod schema;
#[path = "exercise/send.rs"]
mod send;
#[path = "mariadb/server.rs"]
mod server;
#[path = "exercise/slots.rs"]
mod slots;
#[path = "exercise/turns.rs"]
mod turns;
#[path = "exercise/validate.rs"]
mod validate;
#[path = "exercise/vault.rs"]
mod vault;
#[path = "exercise/walk.rs"]
mod walk;

/// Another program runs the same on files.
pub(crate) const DATABASE: fixture::Database = fixture::Database::MariaDb;
