//! The model of the protocol, explored to its end: `cargo test -p portcullis-simulator --test model -- --nocapture`
//! prints the size of each state space, the properties, and how soon each broken protocol is found out.

use portcullis_simulator::model::{
    Broken, Engines, Faults, Protocol, Rail, Search, check, find_cycle,
};

const NONE: Faults = Faults::NONE;
const PAID_ONCE: &str = "nothing is paid twice";
const COMMITTED: &str = "bytes are committed before they are sent";
const KNOWN: &str = "bytes that were sent are a known attempt";
const EVIDENCE: &str = "a binding is released on final evidence only";
const ONE_WRITER: &str = "one writer per sender";
const ONE_BINDING: &str = "a payment has one live binding";
const ONE_NUMBER: &str = "a number belongs to one payment";
const ENDS: &str = "every payment ends";

/// One payment, one sender, two slots, the direct rail.
fn one() -> Protocol {
    Protocol {
        rail: Rail::Direct,
        engines: Engines::One,
        payments: 1,
        accepted: 1,
        senders: 1,
        slots: 2,
        faults: NONE,
        broken: Vec::new(),
    }
}

fn two() -> Protocol {
    Protocol { payments: 2, accepted: 2, ..one() }
}

fn vault(protocol: Protocol) -> Protocol {
    Protocol { rail: Rail::Vault, ..protocol }
}

/// Explores everything and expects every property to hold, and no path to run in circles.
fn prove(name: &str, protocol: &Protocol) {
    let report = check(protocol, Search::Exhaustive);
    println!("{name}: {report}");
    for finding in &report.findings {
        assert!(finding.holds(), "{name}: {} does not hold: {finding:#?}", finding.name);
    }
    let cycle = find_cycle(protocol).map(|(step, _)| step);
    assert_eq!(cycle, None, "{name}: \"{ENDS}\" would not be checked on a cycle");
}

#[test]
fn crashes_and_lost_answers() {
    let faults = Faults { crashes: 2, losses: 1, ..NONE };
    prove("two payments, crashes and a lost answer", &Protocol { faults, ..two() });
    let faults = Faults { losses: 2, drops: 1, replays: 1, bumps: 1, crashes: 1, ..NONE };
    prove("one payment, a pool that forgets and remembers", &Protocol { faults, ..one() });
}

#[test]
fn replacements_and_reorgs() {
    let faults = Faults { bumps: 1, cancels: 1, reorgs: 1, ..NONE };
    prove("one payment, bump, cancel and reorg", &Protocol { faults, ..one() });
    let faults = Faults { cancels: 1, reorgs: 1, drops: 1, ..NONE };
    prove("one payment, cancel, reorg and drop", &Protocol { faults, ..one() });
    let faults = Faults { cancels: 1, crashes: 1, losses: 1, ..NONE };
    prove("one payment, cancel, crash and lost answer", &Protocol { faults, ..one() });
    let faults = Faults { reorgs: 2, reverts: 1, null_receipts: 1, crashes: 1, ..NONE };
    prove("one payment, reorgs, revert and null receipt", &Protocol { faults, ..one() });
    let faults = Faults { reorgs: 1, ..NONE };
    prove("two payments and a reorg", &Protocol { faults, ..two() });
    let faults = Faults { cancels: 1, ..NONE };
    prove("two payments and a cancel", &Protocol { slots: 3, faults, ..two() });
}

#[test]
fn restores_by_command() {
    let faults = Faults { restores: 1, ..NONE };
    let later = Protocol { accepted: 1, slots: 3, ..two() };
    prove("two payments, one accepted later, restore", &Protocol { faults, ..later });
    let faults = Faults { restores: 1, cancels: 1, ..NONE };
    prove("one payment, restore and cancel", &Protocol { slots: 3, faults, ..one() });
    let faults = Faults { restores: 1, reorgs: 1, crashes: 1, ..NONE };
    prove("one payment, restore, reorg and crash", &Protocol { faults, ..one() });
    let faults = Faults { restores: 1, swaps: 1, ..NONE };
    let new = Protocol { accepted: 0, slots: 3, ..one() };
    prove("one payment, restored twice", &Protocol { faults, ..new });
}

#[test]
fn restores_under_running_processes() {
    let faults = Faults { swaps: 1, ..NONE };
    let later = Protocol { accepted: 1, slots: 3, ..two() };
    prove("two payments, one accepted later, swapped file", &Protocol { faults, ..later });
    let faults = Faults { swaps: 1, crashes: 1, ..NONE };
    let senders = Protocol { senders: 2, ..one() };
    prove("one payment, two senders, swapped file, crash", &Protocol { faults, ..senders });
    let faults = Faults { swaps: 1, reorgs: 1, ..NONE };
    prove("one payment, swapped file and reorg", &Protocol { faults, ..one() });
}

#[test]
fn two_signers() {
    let signers = Protocol { engines: Engines::Two, ..one() };
    let faults = Faults { expiries: 1, crashes: 1, bumps: 1, ..NONE };
    prove(
        "one payment, two signers, lost lease, crash, bump",
        &Protocol { faults, ..signers.clone() },
    );
    let faults = Faults { expiries: 1, ..NONE };
    let senders = Protocol { payments: 2, accepted: 2, senders: 2, ..signers };
    prove("two payments, two signers, lost lease", &Protocol { faults, ..senders });
    let faults = Faults { copies: 1, crashes: 1, ..NONE };
    let copy = Protocol { engines: Engines::CopyWithJournal, ..one() };
    prove("one payment, two databases, one journal", &Protocol { faults, ..copy });
}

#[test]
fn the_vault_rail() {
    let faults = Faults { cancels: 1, ..NONE };
    prove("vault: two payments, batches, cancel", &vault(Protocol { slots: 3, faults, ..two() }));
    let faults = Faults { cancels: 1, reorgs: 1, ..NONE };
    prove("vault: one payment rides again, reorg", &vault(Protocol { faults, ..one() }));
    let faults = Faults { reverts: 1, reorgs: 1, crashes: 1, ..NONE };
    prove("vault: one payment fails and rides again, reorg", &vault(Protocol { faults, ..one() }));
    let faults = Faults { restores: 1, ..NONE };
    let later = Protocol { accepted: 1, slots: 3, ..two() };
    prove("vault: two payments, restore", &vault(Protocol { faults, ..later }));
}

#[test]
fn two_copies_with_two_journals() {
    let faults = Faults { copies: 1, ..NONE };
    let copies = Protocol { engines: Engines::CopyWithCopiedJournal, senders: 2, faults, ..one() };
    prove("vault: one payment, two databases, two journals", &vault(copies.clone()));
    // The documented limit of the direct rail: nothing but the slot guards a payment there.
    let report = check(&copies, Search::Breaking(PAID_ONCE));
    let steps = report.trace(PAID_ONCE).map(<[_]>::len);
    println!("direct rail, two databases, two journals: paid twice after {steps:?} steps");
    assert!(steps.is_some(), "the direct rail cannot survive two journals");
}

/// A protocol without some of its rules, and the property that shows it.
fn expect_broken(broken: &[Broken], property: &'static str, protocol: &Protocol) {
    let protocol = Protocol { broken: broken.to_vec(), ..protocol.clone() };
    let report = check(&protocol, Search::Breaking(property));
    let trace = report.trace(property).unwrap_or_else(|| {
        panic!("without {broken:?} \"{property}\" was never broken: {report}");
    });
    println!("without {broken:?}: \"{property}\" is broken after {} steps", trace.len());
}

/// A protocol that lacks one rule, and yet pays nothing twice, because the journal refuses.
fn expect_paid_once(broken: Broken, protocol: &Protocol) {
    let protocol = Protocol { broken: vec![broken], ..protocol.clone() };
    let report = check(&protocol, Search::Exhaustive);
    assert!(report.trace(PAID_ONCE).is_none(), "the journal did not hold without {broken:?}");
    println!("without [{broken:?}]: \"{PAID_ONCE}\" holds in {} states", report.states);
}

#[test]
fn every_missing_rule_is_found_out() {
    let lost = Protocol { faults: Faults { losses: 1, ..NONE }, ..one() };
    let bumped = Protocol { faults: Faults { bumps: 1, ..NONE }, ..one() };
    let canceled = Protocol { faults: Faults { cancels: 1, ..NONE }, ..one() };
    let unseen = Protocol { faults: Faults { null_receipts: 1, ..NONE }, ..one() };
    let reorged = Protocol { faults: Faults { cancels: 1, reorgs: 1, ..NONE }, ..one() };
    let swapped = Protocol { senders: 2, faults: Faults { swaps: 1, ..NONE }, ..one() };
    let raced = Protocol {
        engines: Engines::Two,
        senders: 2,
        faults: Faults { expiries: 1, ..NONE },
        ..one()
    };
    let restored = Protocol { accepted: 0, faults: Faults { restores: 1, ..NONE }, ..two() };
    let adopted = Protocol { faults: Faults { restores: 1, reorgs: 1, ..NONE }, ..one() };

    expect_broken(&[Broken::SkipJournal], PAID_ONCE, &swapped);
    expect_broken(&[Broken::SendBeforeCommit], COMMITTED, &one());
    expect_broken(&[Broken::ForgetAttempt], KNOWN, &bumped);
    expect_broken(&[Broken::NoFencing], ONE_WRITER, &raced);
    expect_broken(&[Broken::ReuseNumber], ONE_NUMBER, &restored);
    expect_broken(&[Broken::AdoptAsSigned], ENDS, &adopted);
    // The same mistake twice: with the journal it is seen, without it money is lost.
    for (broken, property, protocol) in [
        (Broken::TimeoutIsFailure, EVIDENCE, &lost),
        (Broken::RenonceOnTooLow, EVIDENCE, &lost),
        (Broken::TrustNullReceipt, EVIDENCE, &unseen),
        (Broken::TrustCancel, EVIDENCE, &canceled),
        (Broken::ReleaseEarly, EVIDENCE, &reorged),
        (Broken::DropCompare, ONE_BINDING, &raced),
    ] {
        expect_broken(&[broken], property, protocol);
        // A payment bound twice halts the engine for ever; that space is large and shows no more.
        if broken != Broken::DropCompare {
            expect_paid_once(broken, protocol);
        }
        expect_broken(&[broken, Broken::SkipJournal], PAID_ONCE, protocol);
    }
}

/// An engine that goes on without importing halts again and again: the search for cycles sees it.
#[test]
fn going_on_without_an_import_runs_in_circles() {
    let protocol = Protocol {
        faults: Faults { restores: 1, ..NONE },
        broken: vec![Broken::SkipImport],
        ..one()
    };
    let report = check(&protocol, Search::Exhaustive);
    assert!(report.trace(PAID_ONCE).is_none(), "the journal did not hold");
    assert!(find_cycle(&protocol).is_some(), "without an import the halt must come back");
}
