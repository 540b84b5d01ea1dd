//! The table `halts`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "halts")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = true)]
    pub(crate) id: i64,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) raised_at: i64,
    pub(crate) cleared_at: Option<i64>,
    pub(crate) cleared_with: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
