//! The names of the unique keys: MySQL says which key a row would repeat by its name, SQLite by its columns.

use sea_orm::{DbErr, SqlErr};

/// A unique key beside the primary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Its name in MySQL, and in errors on every database.
    pub name: &'static str,
    /// Its columns as SQLite names them.
    pub columns: &'static str,
}

const fn key(name: &'static str, columns: &'static str) -> UniqueKey {
    UniqueKey { name, columns }
}

/// What the primary keys are called.
const PRIMARY: &str = "PRIMARY";

/// Every one of them.
pub const UNIQUE_KEYS: [UniqueKey; 12] = [
    key("tenants_by_name", "tenants.name"),
    key("api_keys_by_secret", "api_keys.secret_hash"),
    key("assets_by_symbol", "assets.chain_id, assets.symbol"),
    key("assets_by_token", "assets.chain_id, assets.token"),
    key("balances_by_account", "balances.tenant_id, balances.account_id, balances.asset_id"),
    key("deposits_by_request", "deposits.tenant_id, deposits.external_id"),
    key("withdrawals_by_request", "withdrawals.tenant_id, withdrawals.external_id"),
    key("withdrawals_by_number", "withdrawals.epoch, withdrawals.sequence"),
    key("slots_by_nonce", "slots.chain_id, slots.sender, slots.nonce"),
    key("bindings_by_withdrawal", "bindings.withdrawal_id, bindings.released_at"),
    key("attempts_by_ordinal", "attempts.slot_id, attempts.ordinal"),
    key(
        "dead_letters_by_subject",
        "dead_letters.queue, dead_letters.subject, dead_letters.ended_at",
    ),
];

/// The unique key that a row would have repeated.
pub(crate) fn key_of(error: &DbErr) -> String {
    let Some(SqlErr::UniqueConstraintViolation(message)) = error.sql_err() else {
        return String::new();
    };
    name_in(&message).to_owned()
}

/// SQLite ends its message with the columns; MySQL with the key in quotes, in newer versions after the table and a dot.
fn name_in(message: &str) -> &'static str {
    let text = message.trim().trim_end_matches('\'');
    let last = text.rsplit(['\'', '.']).next().unwrap_or_default();
    let is_meant =
        |key: &&UniqueKey| last == key.name || text.ends_with(&format!(": {}", key.columns));
    UNIQUE_KEYS.iter().find(is_meant).map_or(PRIMARY, |key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_called_alike_on_every_database() {
        for (message, name) in [
            (
                "UNIQUE constraint failed: withdrawals.tenant_id, withdrawals.external_id",
                "withdrawals_by_request",
            ),
            ("Duplicate entry 'a-b' for key 'withdrawals_by_request'", "withdrawals_by_request"),
            ("Duplicate entry '1' for key 'tenants.tenants_by_name'", "tenants_by_name"),
            ("UNIQUE constraint failed: tenants.name", "tenants_by_name"),
            ("UNIQUE constraint failed: slots.id", PRIMARY),
            ("Duplicate entry 'x' for key 'PRIMARY'", PRIMARY),
        ] {
            assert_eq!(name_in(message), name, "{message}");
        }
    }
}
