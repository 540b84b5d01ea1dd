//! The table `forgotten`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "forgotten")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) reference: Vec<u8>,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
    pub(crate) tenant_id: Option<Vec<u8>>,
    pub(crate) external_id: Option<String>,
    pub(crate) withdrawal_id: Option<Vec<u8>>,
    pub(crate) slot_id: Vec<u8>,
    pub(crate) created_at: i64,
    pub(crate) paid: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
