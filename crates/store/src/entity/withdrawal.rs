//! The table `withdrawals`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "withdrawals")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Vec<u8>,
    pub(crate) tenant_id: Vec<u8>,
    pub(crate) external_id: String,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) account_id: String,
    pub(crate) asset_id: Vec<u8>,
    pub(crate) chain_id: i64,
    pub(crate) token: Vec<u8>,
    pub(crate) amount: String,
    pub(crate) to_address: Vec<u8>,
    pub(crate) priority: i32,
    pub(crate) metadata: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
    pub(crate) reference: Vec<u8>,
    pub(crate) seal_key_id: i64,
    pub(crate) mac: Vec<u8>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) event_sequence: i64,
    pub(crate) timeline: String,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) cancel_requested: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
