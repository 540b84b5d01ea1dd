//! A value for each row of one statement, by a key of the row.

use sea_orm::sea_query::{CaseStatement, Expr, SimpleExpr};
use sea_orm::{ColumnTrait, Value};

/// The value that belongs to the key of a row, and `other` where the key is none of these; without it all rows must have one
/// of them, of which there is at least one. A search tree: hundreds of keys in a row would be compared with each of hundreds of rows.
pub(crate) fn value_of_key<C, K>(
    column: C,
    mut values: Vec<(K, SimpleExpr)>,
    other: Option<&SimpleExpr>,
) -> SimpleExpr
where
    C: ColumnTrait,
    K: Ord + Clone + Into<Value>,
{
    values.sort_by(|(one, _), (another, _)| one.cmp(another));
    branch(column, &values, other)
}

fn branch<C, K>(column: C, sorted: &[(K, SimpleExpr)], other: Option<&SimpleExpr>) -> SimpleExpr
where
    C: ColumnTrait,
    K: Clone + Into<Value>,
{
    let none = || other.cloned().unwrap_or_else(|| Expr::value(Option::<i64>::None));
    let (lower, upper) = sorted.split_at(sorted.len() / 2);
    let Some((first, value)) = upper.first() else { return none() };
    if !lower.is_empty() {
        return CaseStatement::new()
            .case(column.lt(first.clone()), branch(column, lower, other))
            .finally(branch(column, upper, other))
            .into();
    }
    match other {
        None => value.clone(),
        Some(other) => CaseStatement::new()
            .case(column.eq(first.clone()), value.clone())
            .finally(other.clone())
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use sea_orm::{EntityTrait, QueryFilter, QueryOrder, QuerySelect};

    use super::*;
    use crate::convert::bigint;
    use crate::entity::sender;
    use crate::work::tests::migrated;

    const CHAIN: u64 = 137;

    #[tokio::test]
    async fn each_row_has_the_value_of_its_key_and_others_have_the_other() {
        let (_directory, store) = migrated().await;
        let all: Vec<(Address, u64)> =
            (1..=40_u8).map(|byte| (Address::repeat_byte(byte), u64::from(byte))).collect();
        store.register_senders(CHAIN, &all).await.expect("registers");
        for known in [1_u8, 2, 3, 7, 32, 40] {
            // In no order.
            let values: Vec<(Vec<u8>, SimpleExpr)> = all[..usize::from(known)]
                .iter()
                .rev()
                .map(|(address, count)| (address.to_vec(), Expr::value(bigint(*count))))
                .collect();
            let (among, beyond) = (values.clone(), Expr::value(-1));
            let or_other = value_of_key(sender::Column::Address, values, Some(&beyond));
            let only = value_of_key(sender::Column::Address, among, None);
            let nonces =
                || sender::Entity::find().select_only().order_by_asc(sender::Column::Address);
            let found: Vec<i64> = nonces()
                .expr_as(or_other, "value")
                .into_tuple()
                .all(&store.reader)
                .await
                .expect("reads");
            let expected: Vec<i64> =
                (1..=40).map(|value| if value <= i64::from(known) { value } else { -1 }).collect();
            assert_eq!(found, expected, "{known} known");
            let last = all[usize::from(known) - 1].0.to_vec();
            let named = nonces().filter(sender::Column::Address.lte(last));
            let found: Vec<i64> =
                named.expr_as(only, "value").into_tuple().all(&store.reader).await.expect("reads");
            assert_eq!(found, expected[..usize::from(known)], "{known} named");
        }
    }
}
