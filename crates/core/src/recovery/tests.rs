use proptest::prelude::*;

use super::*;

const GWEI: u128 = 1_000_000_000;
const BOUNDS: FeeBounds =
    FeeBounds { tip_wei_min: 25 * GWEI, max_fee_per_gas_wei_cap: 1_000 * GWEI };
const PATIENCE: Patience = Patience { standard_ms: 30_000, least_ms: 3_000 };

fn fees(max_fee: u128, tip: u128) -> Fees {
    Fees { max_fee_per_gas_wei: max_fee * GWEI, max_priority_fee_per_gas_wei: tip * GWEI }
}

fn market(base_fee: u128) -> FeeMarket {
    FeeMarket { base_fee_wei: base_fee * GWEI, tip_wei: 30 * GWEI }
}

fn facts() -> HeadFacts {
    HeadFacts {
        priority: Priority::Standard,
        age_ms: 0,
        waited_ms: 0,
        highest: fees(230, 30),
        has_own_bytes: true,
        price_refusals: 0,
        lacks_gas_money: false,
        chance: 0,
    }
}

fn decide(facts: HeadFacts, base_fee: u128) -> Decision {
    decide_head(&facts, market(base_fee), BOUNDS, PATIENCE)
}

#[test]
fn urgent_is_bumped_before_vip_before_standard_and_the_old_before_the_fresh() {
    let of = |priority, age_ms| PATIENCE.for_payment(priority, age_ms);
    assert_eq!(Priority::ALL.map(|priority| of(priority, 0)), [30_000, 20_000, 10_000]);
    assert_eq!(of(Priority::Standard, 150_000), 18_750, "half way to its deadline");
    assert_eq!(of(Priority::Standard, 300_000), 7_500, "a quarter");
    assert_eq!(of(Priority::Standard, i64::MAX), 7_500);
    assert_eq!(of(Priority::Standard, -5), 30_000, "a clock that went back");
    assert_eq!(of(Priority::Urgent, i64::MAX), 3_000, "a few blocks at least");
}

#[test]
fn a_slot_is_let_be_until_its_time_is_over() {
    let waited = |waited_ms| decide(HeadFacts { waited_ms, ..facts() }, 100);
    assert_eq!(waited(29_999), Decision::Wait(WaitReason::Patience { left_ms: 1 }));
    let Decision::Bump { reason, fees: price } = waited(30_000) else { panic!("it is due") };
    assert_eq!(reason, BumpReason::Late { waited_ms: 30_000, patience_ms: 30_000 });
    assert_eq!(price.max_fee_per_gas_wei, 258_750_000_000, "one eighth more than its highest");
    let late = HeadFacts { waited_ms: 30_001, chance: 3_000, ..facts() };
    assert_eq!(decide(late, 100), Decision::Wait(WaitReason::Patience { left_ms: 2_999 }));
}

#[test]
fn a_stranded_head_is_bumped_at_once_above_the_base_fee() {
    let Decision::Bump { reason, fees } = decide(facts(), 231) else { panic!("it is stranded") };
    let stranded = BumpReason::Stranded { fee_cap_wei: 230 * GWEI, base_fee_wei: 231 * GWEI };
    assert_eq!(reason, stranded);
    assert!(fees.max_fee_per_gas_wei > 231 * GWEI);
    assert!(matches!(decide(facts(), 230), Decision::Wait(_)), "it is still above");
    let adopted = HeadFacts {
        has_own_bytes: false,
        highest: Fees { max_fee_per_gas_wei: 0, max_priority_fee_per_gas_wei: 0 },
        ..facts()
    };
    assert!(matches!(decide(adopted, 231), Decision::Wait(_)), "its price is not known");
}

#[test]
fn a_refused_price_is_raised_at_once_and_then_with_patience() {
    let refused =
        |price_refusals, waited_ms| decide(HeadFacts { waited_ms, price_refusals, ..facts() }, 100);
    let is_bumped =
        |decision| matches!(decision, Decision::Bump { reason: BumpReason::Refused, .. });
    assert!(is_bumped(refused(1, 0)));
    assert!(matches!(refused(2, 7_499), Decision::Wait(WaitReason::Patience { left_ms: 1 })));
    assert!(is_bumped(refused(2, 7_500)));
    let outcomes = |all: &[Option<&'static str>]| price_refusals(all.iter().copied());
    let low = Some("GAS_PRICE_TOO_LOW underpriced");
    assert_eq!(outcomes(&[low, Some("accepted"), low, low]), 2);
    assert_eq!(outcomes(&[low, None]), 0, "the newest was not sent yet");
    assert_eq!(outcomes(&[Some("TIMEOUT unknown"), low]), 1);
}

#[test]
fn at_the_cap_it_waits_and_says_so() {
    let highest = fees(900, 40);
    let late = HeadFacts { highest, waited_ms: 60_000, ..facts() };
    let Decision::AtCap { above, .. } = decide(late, 950) else { panic!("it does not fit") };
    assert_eq!((above.needed_wei, above.cap_wei), (1_012_500_000_000, 1_000 * GWEI));
    let fresh = HeadFacts { highest, ..facts() };
    assert!(matches!(decide(fresh, 100), Decision::Wait(_)), "no alarm before it is due");
    let poor = HeadFacts { lacks_gas_money: true, ..late };
    assert_eq!(decide(poor, 950), Decision::Wait(WaitReason::NoGasMoney));
}

#[test]
fn gaps_are_the_nonces_without_a_slot() {
    assert_eq!(find_gaps(5, 9, &[5, 6, 7, 8]), [0_u64; 0]);
    assert_eq!(find_gaps(5, 9, &[8, 6]), [5, 7]);
    assert_eq!(find_gaps(5, 9, &[1, 2, 9, 12]), [5, 6, 7, 8], "others do not count");
    assert_eq!(find_gaps(9, 9, &[]), [0_u64; 0]);
    assert_eq!(find_gaps(9, 5, &[]), [0_u64; 0], "the chain is ahead: foreign use, not a gap");
    assert_eq!(find_gaps(0, u64::MAX, &[2]).len(), GAPS_MAX);
}

#[test]
fn gas_runs_out_at_the_limit_or_just_below() {
    assert!(ran_out_of_gas(65_000, 65_000));
    assert!(ran_out_of_gas(63_985, 65_000), "1/64 was kept back from an inner call");
    assert!(!ran_out_of_gas(40_000, 65_000));
    assert!(!ran_out_of_gas(0, 0), "an adopted attempt does not tell");
    assert_eq!(gas_after_rides(100, 0, 1_000), 100);
    assert_eq!(gas_after_rides(100, 2, 1_000), 300);
    assert_eq!(gas_after_rides(600, 3, 1_000), 1_000, "the chain's limit");
}

#[test]
fn letters_are_redriven_less_and_less_often() {
    let pauses: Vec<i64> = (0..8).map(|redrives| redrive_after_ms(redrives, 0) / 60_000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(redrive_after_ms(u32::MAX, 0), REDRIVE_MOST_MS);
}

proptest! {
    #[test]
    fn a_bump_satisfies_the_pools_and_the_cap(
        waited_ms in 0_i64..100_000, age_ms in 0_i64..1_000_000, cap in 1_u128..2_000, tip in 1_u128..200,
        base_fee in 0_u128..2_000, refusals in 0_u32..4, chance: u64, rank in 0_i32..3,
    ) {
        let priority = Priority::from_rank(rank).expect("a rank");
        let highest = fees(cap.max(tip), tip);
        let facts = HeadFacts {
            priority, age_ms, waited_ms, highest, price_refusals: refusals, chance, ..facts()
        };
        match decide(facts, base_fee) {
            Decision::Wait(_) => prop_assert!(highest.max_fee_per_gas_wei >= base_fee * GWEI),
            Decision::Bump { fees, .. } => {
                let enough = |old: u128, new: u128| new * 8 >= old * 9;
                prop_assert!(enough(highest.max_fee_per_gas_wei, fees.max_fee_per_gas_wei));
                prop_assert!(enough(
                    highest.max_priority_fee_per_gas_wei, fees.max_priority_fee_per_gas_wei
                ));
                prop_assert!(fees.max_fee_per_gas_wei <= BOUNDS.max_fee_per_gas_wei_cap);
            }
            Decision::AtCap { above, .. } => prop_assert!(above.needed_wei > above.cap_wei),
        }
    }

    #[test]
    fn patience_only_shrinks_with_age(
        standard_ms in 1_i64..1_000_000, age_ms in 0_i64..100_000_000, more in 0_i64..100_000_000,
    ) {
        let patience = Patience { standard_ms, least_ms: 100 };
        for priority in Priority::ALL {
            let (before, after) =
                (patience.for_payment(priority, age_ms), patience.for_payment(priority, age_ms + more));
            prop_assert!(after <= before && after >= 100);
        }
    }

    #[test]
    fn every_nonce_is_opened_or_a_gap(count in 0_u64..40, length in 0_u64..16, mask: u16) {
        let next = count + length;
        let opened: Vec<u64> = (count..next).filter(|nonce| mask >> (nonce - count) & 1 == 1).collect();
        let mut all = find_gaps(count, next, &opened);
        all.extend(&opened);
        all.sort_unstable();
        prop_assert_eq!(all, (count..next).collect::<Vec<_>>());
    }
}
