//! The table `assets`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "assets")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Vec<u8>,
    pub(crate) chain_id: i64,
    pub(crate) symbol: String,
    pub(crate) token: Vec<u8>,
    pub(crate) decimals: i32,
    pub(crate) amount_min: String,
    pub(crate) amount_max: String,
    pub(crate) daily_max: Option<String>,
    pub(crate) enabled: i32,
    pub(crate) created_at: i64,
    pub(crate) seal_key_id: i64,
    pub(crate) mac: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
