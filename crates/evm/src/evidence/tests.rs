//! Tables of votes and verdicts, and the property that matters: nobody but a quorum makes a fact.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use proptest::prelude::*;

use super::*;
use crate::chain_types::HeadBlock;
use crate::follower::ChainLink;

/// A version of something: its number, and the height of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact(u8);

const HEIGHT: u64 = 100;

const FACT: Subject<Fact> = Subject { agrees: |one, other| one == other, height: |_| HEIGHT };

/// `a1`: operator `a` shows version 1. `b-`: it has the block and shows none. `c<`: it does not have the
/// block yet and shows none. `d?`: no answer. Two votes of one letter are two providers of one operator.
fn votes(text: &str) -> Vec<Vote<'_, Fact>> {
    text.split_whitespace()
        .map(|word| {
            let (operator, says) = word.split_at(1);
            let voice = match says {
                "-" => Voice::ShowsNone { head: Some(HEIGHT) },
                "<" => Voice::ShowsNone { head: Some(HEIGHT - 1) },
                "?" => Voice::Silent,
                version => Voice::Shows(Fact(version.parse().expect("a version"))),
            };
            Vote { operator, voice }
        })
        .collect()
}

fn agreed(version: u8, agreeing: usize, dissenting: usize) -> Evidence<Fact> {
    Evidence::Agreed { value: Fact(version), agreeing, dissenting }
}

fn unconfirmed(version: u8, agreeing: usize) -> Evidence<Fact> {
    Evidence::Unconfirmed { value: Fact(version), agreeing }
}

fn disputed(camps: &[(u8, usize)]) -> Evidence<Fact> {
    let version = |(version, operators): &(u8, usize)| Version {
        value: Fact(*version),
        operators: *operators,
    };
    Evidence::Disputed { versions: camps.iter().map(version).collect() }
}

#[test]
fn votes_become_verdicts() {
    let absent = |operators| Evidence::Absent { operators };
    for (needed, text, expected) in [
        // One operator configured, and believed alone.
        (1, "a1", agreed(1, 1, 0)),
        (1, "a-", absent(1)),
        (1, "a?", Evidence::Unanswered),
        (1, "", Evidence::Unanswered),
        // Two of two.
        (2, "a1 b1", agreed(1, 2, 0)),
        (2, "a1 b-", unconfirmed(1, 1)),
        (2, "a- b1", unconfirmed(1, 1)),
        (2, "a1 b?", unconfirmed(1, 1)),
        (2, "a1 b<", unconfirmed(1, 1)),
        (2, "a1 b2", disputed(&[(1, 1), (2, 1)])),
        (2, "a- b-", absent(2)),
        (2, "a- b?", absent(1)),
        (2, "a? b?", Evidence::Unanswered),
        // Two of three: one that lags, lies or is gone does not stop the others, and is not silent about it.
        (2, "a1 b1 c1", agreed(1, 3, 0)),
        (2, "a1 b1 c-", agreed(1, 2, 0)),
        (2, "a- b1 c1", agreed(1, 2, 0)),
        (2, "a1 b1 c?", agreed(1, 2, 0)),
        (2, "a1 b1 c2", agreed(1, 2, 1)),
        (2, "a2 b1 c1", agreed(1, 2, 1)),
        (2, "a1 b- c-", unconfirmed(1, 1)),
        (2, "a1 b2 c3", disputed(&[(1, 1), (2, 1), (3, 1)])),
        (2, "a1 b2 c-", disputed(&[(1, 1), (2, 1)])),
        (2, "a1 b2 c?", disputed(&[(1, 1), (2, 1)])),
        // An absent one never wins, and a quorum of absent ones that have the block is not passed over.
        (2, "a1 b1 c- d-", unconfirmed(1, 2)),
        (2, "a1 b1 c< d<", agreed(1, 2, 0)),
        (2, "a1 b1 c- d<", agreed(1, 2, 0)),
        (1, "a1 b-", unconfirmed(1, 1)),
        (1, "a1 b<", agreed(1, 1, 0)),
        // Two quorums against each other.
        (2, "a1 b1 c2 d2", disputed(&[(1, 2), (2, 2)])),
        (2, "a1 b1 c1 d2 e2", disputed(&[(1, 3), (2, 2)])),
        (3, "a1 b1 c1 d2 e2", agreed(1, 3, 2)),
        (1, "a1 b2", disputed(&[(1, 1), (2, 1)])),
        // Only distinct operators count.
        (2, "a1 a1", unconfirmed(1, 1)),
        (2, "a1 a1 b1", agreed(1, 2, 0)),
        (2, "a1 a- b1", agreed(1, 2, 0)),
        (2, "a1 a2 b1", agreed(1, 2, 1)),
        (2, "a1 b- b- b-", unconfirmed(1, 1)),
        (2, "a1 b1 c- c- c-", agreed(1, 2, 0)),
        (1, "a1 a2", disputed(&[(1, 1), (2, 1)])),
        (1, "a1 a-", agreed(1, 1, 0)),
    ] {
        assert_eq!(merge(&votes(text), needed, &FACT), expected, "{needed} of {text:?}");
    }
}

#[test]
fn who_is_not_known_to_lag_counts_as_one_that_has_the_block() {
    let shown = |operator| Vote { operator, voice: Voice::Shows(Fact(1)) };
    let none = |operator| Vote { operator, voice: Voice::ShowsNone { head: None } };
    let all = [shown("a"), shown("b"), none("c"), none("d")];
    assert_eq!(merge(&all, 2, &FACT), unconfirmed(1, 2));
}

#[test]
fn only_a_fact_without_dissent_is_undisputed() {
    assert_eq!(agreed(1, 2, 0).undisputed(), Some(&Fact(1)));
    assert_eq!(agreed(1, 2, 1).undisputed(), None);
    assert_eq!(agreed(1, 2, 1).agreed(), Some(&Fact(1)));
    for other in [unconfirmed(1, 1), disputed(&[(1, 1)]), Evidence::Unanswered] {
        assert_eq!((other.agreed(), other.undisputed(), other.is_absent()), (None, None, false));
    }
}

#[test]
fn decisions_need_operators() {
    let too_few = |have, need| Err(QuorumError::TooFew { have, need });
    // decision, configured operators, quorum, the chain's least for a release
    for (decision, have, quorum, release, expected) in [
        (Decision::Paid, 1, 2, 2, Ok(1)),
        (Decision::Paid, 2, 2, 2, Ok(2)),
        (Decision::Paid, 5, 2, 2, Ok(2)),
        (Decision::Paid, 2, 3, 2, too_few(2, 3)),
        (Decision::Paid, 3, 1, 2, Ok(1)),
        (Decision::Release, 1, 2, 2, too_few(1, 2)),
        (Decision::Release, 1, 2, 1, Ok(1)),
        (Decision::Release, 2, 1, 2, Ok(2)),
        (Decision::Release, 2, 2, 1, Ok(2)),
        (Decision::Release, 3, 3, 2, Ok(3)),
        (Decision::Stop, 1, 2, 2, Ok(1)),
        (Decision::Stop, 2, 1, 1, Ok(2)),
        (Decision::Stop, 3, 3, 2, Ok(3)),
    ] {
        let needed = decision.needed(have, quorum, release);
        assert_eq!(needed, expected, "{decision:?} with {have} of {quorum}");
    }
}

#[test]
fn counts_are_what_a_quorum_tells_both_ways() {
    // needed, what the providers tell, the count and how many operators show it or more
    type Row<'a> = (usize, &'a [(&'a str, u64)], Option<(u64, usize)>);
    let cases: [Row<'_>; 14] = [
        (1, &[("a", 5)], Some((5, 1))),
        (1, &[], None),
        (2, &[("a", 5)], None),
        (2, &[("a", 5), ("b", 5)], Some((5, 2))),
        (2, &[("a", 5), ("b", 9)], Some((5, 2))),
        (2, &[("a", 9), ("b", 5)], Some((5, 2))),
        (2, &[("a", 5), ("b", 5), ("c", 900)], Some((5, 3))),
        (2, &[("a", 0), ("b", 5), ("c", 5)], Some((5, 2))),
        (2, &[("a", 0), ("b", 5), ("c", 900)], Some((5, 2))),
        (2, &[("a", 5), ("b", 5), ("c", 9), ("d", 9)], Some((5, 4))),
        (3, &[("a", 5), ("b", 5), ("c", 9)], Some((5, 3))),
        (1, &[("a", 5), ("b", 9)], Some((5, 2))),
        // Two providers of one operator are one voice, and the lower one speaks.
        (2, &[("a", 9), ("a", 9), ("b", 5)], Some((5, 2))),
        (2, &[("a", 9), ("a", 5)], None),
    ];
    for (needed, told, expected) in cases {
        let count = merge_counts(told, needed).map(|agreed| (agreed.count, agreed.operators));
        assert_eq!(count, expected, "{needed} of {told:?}");
    }
}

/// A block of the chain that bears this letter: its blocks up to `fork` are those of chain `a`.
fn block(chain: char, fork: u64, number: u64) -> HeadBlock {
    let hash = |number: u64| {
        let letter = if number <= fork { 'a' } else { chain };
        alloy_primitives::keccak256(format!("{letter}{number}"))
    };
    HeadBlock {
        number,
        hash: hash(number),
        parent_hash: hash(number.saturating_sub(1)),
        timestamp_ms: 0,
        base_fee_wei: 0,
        gas_limit: 0,
    }
}

/// A provider of `operator` on a chain that leaves the chain `a` above `fork`, compared at `heights`.
fn sighting<'a>(
    operator: &'a str,
    (chain, fork): (char, u64),
    head: u64,
    heights: &[u64],
) -> HeadVote<'a> {
    let below = heights.iter().filter(|height| **height < head);
    let below = below.map(|height| (*height, block(chain, fork, *height))).collect();
    HeadVote { operator, head: block(chain, fork, head), below }
}

fn stored_up_to(chain: (char, u64), tip: u64) -> Vec<ChainLink> {
    (1..=tip).map(|number| ChainLink::from(&block(chain.0, chain.1, number))).collect()
}

const A: (char, u64) = ('a', 0);

#[test]
fn the_head_is_the_highest_block_that_a_quorum_has() {
    // needed, votes as (operator, chain, fork, head), expected head as (chain, number), split
    type Row<'a> = (usize, &'a [(&'a str, char, u64, u64)], Option<(char, u64)>, Option<u64>);
    let rows: [Row<'_>; 15] = [
        (1, &[("a", 'a', 0, 50)], Some(('a', 50)), None),
        (2, &[("a", 'a', 0, 50)], None, None),
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 50)], Some(('a', 50)), None),
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 48)], Some(('a', 48)), None),
        // One is hours behind, one far ahead on its own.
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 49), ("c", 'a', 0, 3)], Some(('a', 49)), None),
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 50), ("c", 'x', 50, 999)], Some(('a', 50)), None),
        // One is on another fork, also where that is higher.
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 50), ("c", 'x', 40, 90)], Some(('a', 50)), None),
        (2, &[("c", 'x', 40, 50), ("a", 'a', 0, 50), ("b", 'a', 0, 49)], Some(('a', 49)), None),
        // One on another fork, and one hours behind that knows of none.
        (2, &[("a", 'a', 0, 50), ("b", 'a', 0, 9), ("c", 'x', 40, 60)], Some(('a', 9)), Some(45)),
        // Two that differ agree up to the fork, as far as it was looked at.
        (2, &[("a", 'a', 0, 50), ("b", 'x', 47, 50)], Some(('a', 45)), Some(50)),
        (2, &[("a", 'a', 0, 50), ("b", 'x', 10, 50)], None, Some(45)),
        // Two providers of one operator are one voice.
        (2, &[("a", 'a', 0, 50), ("a", 'a', 0, 50), ("b", 'a', 0, 40)], Some(('a', 40)), None),
        // Two quorums: the stored chain goes on.
        (
            2,
            &[("c", 'x', 30, 50), ("d", 'x', 30, 50), ("a", 'a', 0, 50), ("b", 'a', 0, 50)],
            Some(('a', 50)),
            None,
        ),
        // Whoever is content with one takes the stored chain too, and the most advanced on it.
        (1, &[("c", 'x', 30, 90), ("a", 'a', 0, 50), ("b", 'a', 0, 52)], Some(('a', 52)), None),
        (3, &[("a", 'a', 0, 50), ("b", 'a', 0, 51), ("c", 'a', 0, 52)], Some(('a', 50)), None),
    ];
    for (row, (needed, told, expected, split)) in rows.into_iter().enumerate() {
        let mut heights: Vec<u64> = told.iter().map(|vote| vote.3).collect();
        heights.push(45);
        let votes: Vec<HeadVote<'_>> = told
            .iter()
            .map(|(operator, chain, fork, head)| {
                sighting(operator, (*chain, *fork), *head, &heights)
            })
            .collect();
        let verdict = agree_on_head(&votes, &stored_up_to(A, 45), needed);
        let head = verdict.agreed.map(|agreed| agreed.head.reference());
        let expected = expected.map(|(chain, number)| block(chain, 0, number).reference());
        assert_eq!(head, expected, "row {row}");
        assert_eq!(verdict.split_at, split, "row {row}");
    }
}

#[test]
fn a_majority_moves_the_head_off_the_stored_chain() {
    let heights = [45, 50];
    let votes = [
        sighting("a", A, 50, &heights),
        sighting("b", ('x', 40), 50, &heights),
        sighting("c", ('x', 40), 50, &heights),
    ];
    let agreed = agree_on_head(&votes, &stored_up_to(A, 45), 2).agreed.expect("two of three");
    assert_eq!((agreed.head, agreed.supporters), (block('x', 40, 50), vec![1, 2]));
    // Equal camps without anything stored: nobody is believed.
    let votes = [
        sighting("a", A, 50, &[]),
        sighting("b", A, 50, &[]),
        sighting("c", ('x', 40), 50, &[]),
        sighting("d", ('x', 40), 50, &[]),
    ];
    let verdict = agree_on_head(&votes, &[], 2);
    assert_eq!((verdict.agreed, verdict.split_at), (None, Some(50)));
}

#[test]
fn a_block_told_with_another_time_or_parent_is_another_block() {
    let honest = sighting("a", A, 50, &[]);
    let mut liar = sighting("b", A, 50, &[]);
    liar.head.timestamp_ms = 1;
    let verdict = agree_on_head(&[honest.clone(), liar], &[], 2);
    assert_eq!((verdict.agreed, verdict.split_at), (None, Some(50)));
    let mut dear = sighting("b", A, 50, &[]);
    dear.head.base_fee_wei = 7;
    assert!(agree_on_head(&[honest, dear], &[], 2).agreed.is_some(), "a price is no part of it");
}

#[test]
fn headers_are_those_that_a_quorum_shows() {
    let run = |chain: (char, u64), to: u64| -> Vec<HeadBlock> {
        (46..=to).map(|number| block(chain.0, chain.1, number)).collect()
    };
    let fork = ('x', 47);
    for (row, (needed, answers, expected)) in [
        (2, vec![("a", run(A, 50)), ("b", run(A, 50))], 50),
        (2, vec![("a", run(A, 50)), ("b", run(A, 48))], 48),
        (2, vec![("a", run(A, 50)), ("b", run(fork, 50))], 47),
        (2, vec![("x", run(fork, 50)), ("a", run(A, 50)), ("b", run(A, 50))], 50),
        (2, vec![("a", run(A, 50)), ("a", run(A, 50))], 45),
        (
            2,
            vec![("a", run(A, 50)), ("b", run(A, 50)), ("x", run(fork, 50)), ("y", run(fork, 50))],
            47,
        ),
        (2, vec![("a", run(A, 50))], 45),
        (1, vec![("a", run(A, 50))], 50),
        (2, vec![], 45),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(agree_on_headers(&answers, needed), run(A, expected), "row {row}");
    }
}

#[test]
fn who_differs_once_has_no_voice_above() {
    // It differs at 46 and shows the right block again at 47: with `b` alone that is no quorum.
    let right = |number| block('a', 0, number);
    let crooked = vec![block('x', 0, 46), right(47)];
    let answers = [("a", vec![right(46)]), ("b", vec![right(46), right(47)]), ("x", crooked)];
    assert_eq!(agree_on_headers(&answers, 2), [right(46)]);
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a faulty provider says: anything.
fn any_voice() -> impl Strategy<Value = Voice<Fact>> {
    prop_oneof![
        (0_u8..3).prop_map(|version| Voice::Shows(Fact(version))),
        prop_oneof![Just(None), (0..200_u64).prop_map(Some)]
            .prop_map(|head| Voice::ShowsNone { head }),
        Just(Voice::Silent),
    ]
}

/// Operators, a quorum of them, and who of all but that quorum is faulty, in what order they are asked.
fn houses() -> impl Strategy<Value = (usize, Vec<Voice<Fact>>, Vec<&'static str>)> {
    (1_usize..=6).prop_flat_map(|operators| (Just(operators), 1..=operators)).prop_flat_map(
        |(operators, quorum)| {
            let faulty = prop::collection::vec(any_voice(), operators - quorum);
            let names = Just(NAMES[..operators].to_vec()).prop_shuffle();
            (Just(quorum), faulty, names)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// All but a quorum are faulty in any way, together and against each other; the quorum tells the truth.
    #[test]
    fn no_set_of_faulty_providers_makes_a_wrong_fact_or_an_absence(
        (quorum, faulty, names) in houses(),
        is_there in any::<bool>(),
    ) {
        let truth = if is_there {
            Voice::Shows(Fact(0))
        } else {
            Voice::ShowsNone { head: Some(HEIGHT) }
        };
        let honest = std::iter::repeat_n(truth, quorum);
        let votes: Vec<Vote<'_, Fact>> = faulty
            .into_iter()
            .chain(honest)
            .zip(names)
            .map(|(voice, operator)| Vote { operator, voice })
            .collect();
        match merge(&votes, quorum, &FACT) {
            Evidence::Agreed { value, .. } => prop_assert!(is_there && value == Fact(0)),
            Evidence::Absent { .. } | Evidence::Unanswered => prop_assert!(!is_there),
            Evidence::Unconfirmed { .. } | Evidence::Disputed { .. } => {}
        }
    }

    /// One faulty provider of three stops nothing: a fact is still a fact.
    #[test]
    fn one_faulty_provider_of_three_hides_no_fact(
        voice in any_voice(),
        position in 0_usize..3,
    ) {
        let mut voices = vec![Voice::Shows(Fact(0)), Voice::Shows(Fact(0))];
        voices.insert(position, voice);
        let votes: Vec<Vote<'_, Fact>> = voices
            .into_iter()
            .zip(NAMES)
            .map(|(voice, operator)| Vote { operator, voice })
            .collect();
        let verdict = merge(&votes, 2, &FACT);
        prop_assert_eq!(verdict.agreed(), Some(&Fact(0)));
    }

    /// The same for counts: never above the truth; and exactly it while the liars are fewer than a quorum.
    #[test]
    fn no_set_of_faulty_providers_raises_a_count(
        (quorum, operators) in (1_usize..=6).prop_flat_map(|it| (1..=it, Just(it))),
        told in prop::collection::vec(prop::option::of(0_u64..20), 6),
    ) {
        let faulty = operators - quorum;
        let liars = told.iter().take(faulty).flatten().copied();
        let all: Vec<(&str, u64)> =
            NAMES.into_iter().zip(liars.chain(std::iter::repeat_n(10, quorum))).collect();
        let agreed = merge_counts(&all, quorum).expect("a quorum answered");
        prop_assert!(agreed.count <= 10);
        if faulty < quorum {
            prop_assert_eq!(agreed.count, 10);
        }
    }

    /// Liars fewer than a quorum never bring the head to a block that is not on the chain, and never lower
    /// than the block that the slowest of the honest has.
    #[test]
    fn liars_do_not_move_the_head(
        honest in prop::collection::vec(45_u64..60, 2..4),
        liars in prop::collection::vec((0_u64..60, 1_u64..100), 0..2),
        liars_first in any::<bool>(),
        tip in 40_u64..50,
    ) {
        let mut heads: Vec<((char, u64), u64)> = honest.iter().map(|head| (A, *head)).collect();
        for (index, (fork, head)) in liars.iter().enumerate() {
            let at = if liars_first { 0 } else { heads.len() };
            let letter = if index == 0 { 'x' } else { 'y' };
            heads.insert(at, ((letter, *fork), *head));
        }
        let mut heights: Vec<u64> = heads.iter().map(|(_, head)| *head).collect();
        heights.push(tip);
        let votes: Vec<HeadVote<'_>> = heads
            .iter()
            .zip(NAMES)
            .map(|((chain, head), operator)| sighting(operator, *chain, *head, &heights))
            .collect();
        let agreed = agree_on_head(&votes, &stored_up_to(A, tip), 2).agreed.expect("two are honest");
        let slowest = honest.iter().copied().min().expect("at least two");
        prop_assert_eq!(agreed.head.reference(), block('a', 0, agreed.head.number).reference());
        prop_assert!(agreed.head.number >= slowest);
    }
}

#[test]
fn receipts_agree_on_block_end_and_logs_and_not_on_prices() {
    use alloy_primitives::{Address, Bytes, Log};
    use portcullis_core::withdrawal::BlockRef;

    let log = |data: &'static [u8]| {
        Log::new(Address::ZERO, vec![B256::ZERO], Bytes::from_static(data)).expect("one topic")
    };
    let receipt = Receipt {
        hash: B256::repeat_byte(1),
        block: BlockRef { number: 7, hash: B256::repeat_byte(7) },
        succeeded: true,
        gas_used: 21_000,
        effective_gas_price_wei: 1,
        from: Address::ZERO,
        to: None,
        logs: vec![log(b"ab"), log(b"c")],
    };
    let priced = Receipt { gas_used: 1, effective_gas_price_wei: 2, ..receipt.clone() };
    assert!(receipt.agrees_with(&priced));
    let other_block = BlockRef { number: 7, hash: B256::repeat_byte(8) };
    let others: BTreeMap<&str, Receipt> = [
        ("block", Receipt { block: other_block, ..receipt.clone() }),
        ("end", Receipt { succeeded: false, ..receipt.clone() }),
        ("fewer logs", Receipt { logs: vec![log(b"ab")], ..receipt.clone() }),
        ("shifted logs", Receipt { logs: vec![log(b"a"), log(b"bc")], ..receipt.clone() }),
        ("swapped logs", Receipt { logs: vec![log(b"c"), log(b"ab")], ..receipt.clone() }),
    ]
    .into();
    for (what, other) in others {
        assert!(!receipt.agrees_with(&other), "{what}");
    }
}
