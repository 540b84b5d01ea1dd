//! Tables of single decisions, and what holds of all of them.

use proptest::prelude::*;

use super::*;

const RULES: BatchingRules = BatchingRules {
    items_max: 10,
    queue_min: 5,
    token_min: 3,
    linger_max_ms: 1_000,
    block_share_percent: 10,
};

const LIMITS: CallLimits = CallLimits {
    transaction_gas_max: 33_554_432,
    fee_gas_max: u64::MAX,
    block_gas: 60_000_000,
    calldata_bytes_max: 120_000,
};

const RICH: Operator = Operator { slots: 8, gas: u64::MAX };

/// What an item needs is 10,000, and a call 21,000.
fn measured() -> GasModel {
    let mut gas = GasModel::default();
    gas.observe(10, 121_000);
    gas
}

fn queue(tokens: &[u8], age_ms: i64) -> Vec<Queued> {
    let token = |byte: u8| (byte > 0).then(|| Address::repeat_byte(byte));
    let queued = |byte: &u8| Queued { token: token(*byte), is_urgent: false, age_ms };
    tokens.iter().map(queued).collect()
}

fn facts<'a>(queue: &'a [Queued], operators: &'a [Operator]) -> Facts<'a> {
    let price = PriceLevel::Usual;
    Facts { queue, operators, limits: LIMITS, gas: measured(), price, rules: RULES }
}

fn shape(decision: &Decision) -> Vec<(usize, Vec<usize>)> {
    decision.calls.iter().map(|call| (call.operator, call.payments.clone())).collect()
}

fn words(decision: &Decision) -> Vec<String> {
    decision.calls.iter().map(|call| call.reason.to_string()).collect()
}

#[test]
fn a_short_queue_pays_at_once_and_singly() {
    let queue = queue(&[1, 1, 1, 2], 0);
    let decision = decide(&facts(&queue, &[RICH, RICH]));
    assert_eq!(shape(&decision), [(0, vec![0]), (1, vec![1]), (0, vec![2]), (1, vec![3])]);
    assert_eq!(words(&decision)[0], "single: fewer than 5 in the queue");
}

#[test]
fn batches_are_formed_by_token_and_the_few_go_singly() {
    let queue = queue(&[1, 2, 1, 3, 1, 2, 2, 2], 1_000);
    let decision = decide(&facts(&queue, &[RICH]));
    assert_eq!(shape(&decision), [(0, vec![0, 2, 4]), (0, vec![1, 5, 6, 7]), (0, vec![3])]);
    assert_eq!(
        words(&decision),
        [
            "batch of 3: it waited long enough for more",
            "batch of 4: it waited long enough for more",
            "single: fewer than 3 of its token in the queue",
        ]
    );
}

#[test]
fn many_few_share_a_batch_with_each_token_in_one_piece() {
    let queue = queue(&[1, 2, 3, 2, 1, 4], 1_000);
    let decision = decide(&facts(&queue, &[RICH]));
    assert_eq!(shape(&decision), [(0, vec![0, 4, 1, 3, 2, 5])]);
}

#[test]
fn a_deep_queue_fills_whole_batches_on_all_operators() {
    let queue = queue(&[1; 35], 0);
    let decision = decide(&facts(&queue, &[RICH, RICH, RICH]));
    let operators: Vec<usize> = decision.calls.iter().map(|call| call.operator).collect();
    assert_eq!(operators, [0, 1, 2]);
    assert_eq!(words(&decision)[0], "batch of 10, limited by the blast radius");
    let lingering: Vec<usize> = decision.waiting.iter().map(|(place, _)| *place).collect();
    assert_eq!(lingering, (30..35).collect::<Vec<_>>());
    assert_eq!(decision.lingers_ms(), Some(1_000));
}

#[test]
fn a_linger_shrinks_with_the_queue_and_goes_by_the_price() {
    let six = queue(&[1; 6], 100);
    let facts = facts(&six, &[RICH]);
    let left = |price| decide(&Facts { price, ..facts }).lingers_ms();
    assert_eq!(left(PriceLevel::Usual), Some(500));
    assert_eq!(left(PriceLevel::Low), Some(200));
    assert_eq!(left(PriceLevel::High), Some(900));
    let two = queue(&[1, 2], 0);
    let dear = decide(&Facts { queue: &two, price: PriceLevel::High, ..facts });
    assert_eq!((dear.calls.len(), dear.lingers_ms()), (0, Some(1_000)), "dear gas is shared");
}

#[test]
fn what_is_urgent_takes_its_batch_along() {
    let mut queue = queue(&[1; 6], 0);
    queue[2].is_urgent = true;
    let decision = decide(&facts(&queue, &[RICH]));
    assert_eq!(shape(&decision), [(0, (0..6).collect())]);
    assert_eq!(words(&decision), ["batch of 6: one of it is urgent"]);
}

#[test]
fn few_slots_are_given_in_the_order_of_the_queue() {
    let queue = queue(&[1, 2, 1, 2, 1, 2, 3, 3, 3, 1, 2, 3], 1_000);
    let one = [Operator { slots: 1, gas: u64::MAX }];
    let decision = decide(&facts(&queue, &one));
    assert_eq!(shape(&decision), [(0, vec![0, 2, 4, 9, 1, 3, 5, 6, 7, 8])]);
    assert_eq!(decision.waiting, [(10, Wait::NoSlot), (11, Wait::NoSlot)]);
    let none = [Operator { slots: 0, gas: u64::MAX }];
    assert_eq!(decide(&facts(&queue, &none)), nothing(&queue, Wait::NoSlot));
}

#[test]
fn each_limit_is_named() {
    let queue = queue(&[1; 40], 0);
    let rules = BatchingRules { items_max: 200, ..RULES };
    let gas = measured();
    let fits_12 = gas.gas_limit(12);
    let usual = Facts { rules, ..facts(&queue, &[RICH]) };
    let name = |limits, operators| decide(&Facts { operators, limits, ..usual }).calls[0].reason;
    let of = |items, by| Reason::Full { items, by };
    let by_gas = CallLimits { transaction_gas_max: fits_12, ..LIMITS };
    assert_eq!(name(by_gas, &[RICH]), of(12, Limit::TransactionGas));
    let by_fee = CallLimits { fee_gas_max: fits_12, ..LIMITS };
    assert_eq!(name(by_fee, &[RICH]), of(12, Limit::FeeCap));
    let by_share = CallLimits { block_gas: fits_12 * 10, ..LIMITS };
    assert_eq!(name(by_share, &[RICH]), of(12, Limit::BlockShare));
    let by_bytes = CallLimits { calldata_bytes_max: 2_000, ..LIMITS };
    assert_eq!(name(by_bytes, &[RICH]), of(12, Limit::Calldata));
    let poor = [Operator { slots: 8, gas: fits_12 }];
    assert_eq!(name(LIMITS, &poor), of(12, Limit::GasMoney));
    let broke = [Operator { slots: 8, gas: 21_000 }];
    let decision = decide(&Facts { operators: &broke, ..usual });
    assert_eq!(decision, nothing(&queue, Wait::NoGasMoney));
    let dear = GasModel::default();
    let little = [Operator { slots: 8, gas: dear.gas_limit(1) - 1 }];
    let decision = decide(&Facts { operators: &little, gas: dear, ..usual });
    let asks = PlannedCall { operator: 0, payments: vec![0], reason: of(1, Limit::GasMoney) };
    assert_eq!(decision.calls, [asks], "the node may know better than what was learned");
    assert_eq!(decision.waiting[0], (1, Wait::NoGasMoney));
}

prop_compose! {
    fn queued()(token in 0_u8..4, is_urgent in prop::bool::weighted(0.1), age_ms in -5_i64..1_500)
        -> Queued
    {
        let token = (token > 0).then(|| Address::repeat_byte(token));
        Queued { token, is_urgent, age_ms }
    }
}

prop_compose! {
    fn limits()(transaction_gas_max in 0_u64..3_000_000, fee_gas_max in 0_u64..3_000_000,
        block_gas in 0_u64..60_000_000, calldata_bytes_max in 0_usize..9_000) -> CallLimits
    {
        CallLimits { transaction_gas_max, fee_gas_max, block_gas, calldata_bytes_max }
    }
}

prop_compose! {
    fn rules()(items_max in 1_usize..60, queue_min in 1_usize..8, token_min in 1_usize..5,
        linger_max_ms in 0_i64..1_200, block_share_percent in 1_u64..=100) -> BatchingRules
    {
        BatchingRules { items_max, queue_min, token_min, linger_max_ms, block_share_percent }
    }
}

fn operators() -> impl Strategy<Value = Vec<Operator>> {
    let gas = prop_oneof![Just(u64::MAX), 0_u64..5_000_000];
    let operator = (0_u64..5, gas).prop_map(|(slots, gas)| Operator { slots, gas });
    prop::collection::vec(operator, 0..6)
}

fn price() -> impl Strategy<Value = PriceLevel> {
    prop_oneof![Just(PriceLevel::Low), Just(PriceLevel::Usual), Just(PriceLevel::High)]
}

proptest! {
    #[test]
    fn no_decision_breaks_a_rule(
        queue in prop::collection::vec(queued(), 0..150),
        operators in operators(),
        limits in limits(),
        rules in rules(),
        price in price(),
    ) {
        let facts =
            Facts { queue: &queue, operators: &operators, limits, gas: measured(), price, rules };
        let decision = decide(&facts);
        prop_assert_eq!(&decision, &decide(&facts), "the same facts, the same decision");

        // Every payment is at exactly one place.
        let in_calls = decision.calls.iter().flat_map(|call| call.payments.iter().copied());
        let mut places: Vec<usize> =
            in_calls.chain(decision.waiting.iter().map(|(place, _)| *place)).collect();
        places.sort_unstable();
        prop_assert_eq!(places, (0..queue.len()).collect::<Vec<_>>());

        // No limit is exceeded, unless by a payment alone.
        let (size, _) = size_of(&facts);
        let mut spent = vec![(0_u64, 0_u64); operators.len()];
        for call in &decision.calls {
            let items = call.payments.len();
            let gas = facts.gas.gas_limit(items);
            prop_assert!(items >= 1 && items <= rules.items_max && items <= size);
            if items > 1 {
                let share = limits.block_gas * rules.block_share_percent / 100;
                let most = limits.transaction_gas_max.min(limits.fee_gas_max).min(share);
                prop_assert!(gas <= most);
                prop_assert!(CALL_BYTES + items * ITEM_BYTES <= limits.calldata_bytes_max);
            }
            let (slots, money) = &mut spent[call.operator];
            (*slots, *money) = (*slots + 1, money.saturating_add(gas));
        }
        let affords = |operator: &Operator| {
            operator.slots > 0 && operator.gas >= facts.gas.gas_limit(1)
        };
        let usable = operators.iter().any(affords);
        // Nobody can pay for what was learned: one payment may ask the node whether it is so.
        let question = Reason::Full { items: 1, by: Limit::GasMoney };
        let asks = !usable
            && matches!(&decision.calls[..], [call] if call.payments == [0] && call.reason == question);
        for (spent, operator) in spent.iter().zip(&operators) {
            prop_assert!(spent.0 <= operator.slots && (asks || spent.1 <= operator.gas));
        }

        // Urgent never lingers, nor does anything longer than the maximum.
        for (place, wait) in &decision.waiting {
            if let Wait::Lingers { left_ms } = wait {
                prop_assert!(!queue[*place].is_urgent);
                prop_assert!(*left_ms > 0);
                prop_assert!(queue[*place].age_ms + left_ms <= rules.linger_max_ms);
            }
        }

        // What waits for a slot waits behind everything that has one; with a free slot that somebody can pay for,
        // the oldest never does.
        let stuck = decision.waiting.iter().filter(|(_, wait)| *wait == Wait::NoSlot);
        if let Some(first) = stuck.map(|(place, _)| *place).min() {
            let served = decision.calls.iter().flat_map(|call| &call.payments);
            prop_assert!(served.clone().all(|place| *place < first));
            prop_assert!(!usable || first > 0);
        }

        // Calls go by their oldest, and of one token the older goes before the younger.
        let oldest: Vec<Option<usize>> =
            decision.calls.iter().map(|call| call.payments.iter().min().copied()).collect();
        prop_assert!(oldest.is_sorted());
        for call in &decision.calls {
            for (one, next) in call.payments.iter().zip(call.payments.iter().skip(1)) {
                prop_assert!(queue[*one].token != queue[*next].token || one < next);
            }
        }
    }

    #[test]
    fn everything_leaves_in_the_end(
        mut queue in prop::collection::vec(queued(), 1..150),
        rules in rules(),
        price in price(),
    ) {
        let operators = [Operator { slots: 2, gas: 2_000_000 }];
        for queued in &mut queue {
            queued.age_ms = queued.age_ms.max(rules.linger_max_ms);
        }
        let mut steps = 0;
        while !queue.is_empty() {
            let facts = Facts {
                queue: &queue, operators: &operators, limits: LIMITS, gas: measured(), price, rules,
            };
            let decision = decide(&facts);
            prop_assert!(decision.calls.iter().any(|call| call.payments.contains(&0)));
            let waiting = decision.waiting.iter().map(|(place, _)| queue[*place]);
            queue = waiting.collect();
            steps += 1;
            prop_assert!(steps <= 150);
        }
    }
}
