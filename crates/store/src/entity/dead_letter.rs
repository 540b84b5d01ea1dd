//! The table `dead_letters`; its migration says what each column means.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_letters")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = true)]
    pub(crate) id: i64,
    pub(crate) queue: String,
    pub(crate) subject: Vec<u8>,
    pub(crate) tenant_id: Option<Vec<u8>>,
    pub(crate) message: String,
    pub(crate) error_type: String,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: String,
    pub(crate) error_details: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) redrives: i32,
    pub(crate) failed_at: i64,
    pub(crate) redrive_at: Option<i64>,
    pub(crate) ended_at: i64,
    pub(crate) ended_how: Option<String>,
    pub(crate) ended_by: Option<String>,
    pub(crate) end_reason: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
