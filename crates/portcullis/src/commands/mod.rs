//! What the command line can do, apart from serving.

mod admin_access;
mod admin_asset;
mod copies;
mod dead_letter;
mod doctor;
mod held_keys;
mod init;
mod init_template;
mod keys;
mod migrate;
mod operate;
mod passphrase;
mod queues;
mod reconcile;
mod show_config;

pub(crate) use admin_access::{api_key, tenant};
pub(crate) use admin_asset::asset;
pub(crate) use copies::{backup, restore};
pub(crate) use dead_letter::dead_letter;
pub(crate) use doctor::doctor;
pub(crate) use held_keys::held_keys;
pub(crate) use init::init;
pub(crate) use keys::{keys, open_keystore, second_secret};
pub(crate) use migrate::migrate;
pub(crate) use operate::{audit, halt, slot, withdrawal};
pub(crate) use queues::queues;
pub(crate) use reconcile::reconcile;
pub(crate) use show_config::{show_config, show_reference, show_schema};
