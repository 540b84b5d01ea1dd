//! The table `balances`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "balances")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = true)]
    pub(crate) id: i64,
    pub(crate) tenant_id: Vec<u8>,
    pub(crate) account_id: String,
    pub(crate) asset_id: Vec<u8>,
    pub(crate) outside: String,
    pub(crate) available: String,
    pub(crate) held: String,
    pub(crate) paid: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
