//! The table `postings`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "postings")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = true)]
    pub(crate) id: i64,
    pub(crate) balance_id: i64,
    pub(crate) kind: String,
    pub(crate) amount: String,
    pub(crate) subject: Vec<u8>,
    pub(crate) at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
