//! The table `slots`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "slots")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Vec<u8>,
    pub(crate) chain_id: i64,
    pub(crate) sender: Vec<u8>,
    pub(crate) nonce: i64,
    pub(crate) purpose: String,
    pub(crate) rail: String,
    pub(crate) payload_digest: Vec<u8>,
    pub(crate) stage: String,
    pub(crate) outcome: Option<String>,
    pub(crate) transaction_hash: Option<Vec<u8>>,
    pub(crate) block_number: Option<i64>,
    pub(crate) block_hash: Option<Vec<u8>>,
    pub(crate) block_at: Option<i64>,
    pub(crate) cancel_requested: i32,
    pub(crate) due_at: i64,
    pub(crate) receives: i32,
    pub(crate) claim: Option<String>,
    pub(crate) claimed_until: i64,
    pub(crate) opened_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) gas_estimated: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
