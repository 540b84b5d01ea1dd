//! The table `commands`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = true)]
    pub(crate) id: i64,
    pub(crate) chain_id: i64,
    pub(crate) kind: String,
    pub(crate) sender: Vec<u8>,
    pub(crate) nonce: i64,
    pub(crate) requested_by: String,
    pub(crate) reason: String,
    pub(crate) created_at: i64,
    pub(crate) due_at: i64,
    pub(crate) done_at: Option<i64>,
    pub(crate) answer: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
