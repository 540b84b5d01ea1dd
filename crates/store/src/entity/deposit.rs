//! The table `deposits`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deposits")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Vec<u8>,
    pub(crate) tenant_id: Vec<u8>,
    pub(crate) external_id: String,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) account_id: String,
    pub(crate) asset_id: Vec<u8>,
    pub(crate) amount: String,
    pub(crate) created_at: i64,
    pub(crate) seal_key_id: i64,
    pub(crate) mac: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
