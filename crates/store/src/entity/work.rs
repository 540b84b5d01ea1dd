//! The table `work`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "work")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) withdrawal_id: Vec<u8>,
    pub(crate) chain_id: i64,
    pub(crate) stage: String,
    pub(crate) shard: i32,
    pub(crate) priority: i32,
    pub(crate) due_at: i64,
    pub(crate) receives: i32,
    pub(crate) trace: Option<String>,
    pub(crate) entered_at: i64,
    pub(crate) turn_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
