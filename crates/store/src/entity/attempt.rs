//! The table `attempts`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) hash: Vec<u8>,
    pub(crate) slot_id: Vec<u8>,
    pub(crate) ordinal: i32,
    pub(crate) kind: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) max_fee_per_gas_wei: i64,
    pub(crate) max_priority_fee_per_gas_wei: i64,
    pub(crate) gas_limit: i64,
    pub(crate) committed_at: i64,
    pub(crate) sent_at: Option<i64>,
    pub(crate) sends: i32,
    pub(crate) last_outcome: Option<String>,
    pub(crate) gas_used: Option<i64>,
    pub(crate) effective_gas_price_wei: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
