//! `admin halt`, `admin slot`, `admin withdrawal` and `admin audit`: what operators decide.

use alloy_primitives::hex;
use portcullis_core::address::parse_address;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::{Purpose, Slot};
use portcullis_store::cancel::RefundOutcome;
use portcullis_store::command::CommandKind;
use portcullis_store::slot::OpenSlot;
use portcullis_store::work::ResumeOutcome;
use serde_json::{Value, json};

use crate::cli::operate::{
    AuditCommand, HaltCommand, SlotArgs, SlotCommand, SlotOrderArgs, WithdrawalCommand,
};
use crate::failure::Failure;
use crate::session::Session;

/// Runs `admin halt …`.
pub(crate) async fn halt(command: &HaltCommand, session: &Session) -> Result<(), Failure> {
    match command {
        HaltCommand::List => {
            let halts = session.store.halts().await;
            let halts =
                halts.map_err(|error| Failure::of_store("cannot read the halts", &error))?;
            let rows = halts
                .iter()
                .map(|halt| {
                    json!({ "id": halt.id, "reason": halt.reason, "raised_at": halt.raised_at.to_rfc3339(),
                        "detail": halt.detail })
                })
                .collect();
            session.output.list("halts", &["id", "reason", "raised_at", "detail"], rows);
        }
        HaltCommand::Clear { id, reason } => {
            check_reason(reason)?;
            let cleared = session.store.clear_halt(*id, &session.actor, reason).await;
            if !cleared.map_err(|error| Failure::of_store("cannot clear the halt", &error))? {
                return Err(Failure::Refused(format!("no halt {id} is in force")));
            }
            let text = format!("halt {id} is cleared");
            session.output.show(&text, &json!({ "id": id, "cleared": true }));
        }
    }
    Ok(())
}

/// Runs `admin slot …`.
pub(crate) async fn slot(command: &SlotCommand, session: &Session) -> Result<(), Failure> {
    let (kind, order) = match command {
        SlotCommand::Show(slot) => return show(slot, session).await,
        SlotCommand::Bump(order) => (CommandKind::Bump, order),
        SlotCommand::Cancel(order) => (CommandKind::Cancel, order),
        SlotCommand::Fill(order) => (CommandKind::Fill, order),
    };
    request(kind, order, session).await
}

/// Runs `admin withdrawal …`.
pub(crate) async fn withdrawal(
    command: &WithdrawalCommand,
    session: &Session,
) -> Result<(), Failure> {
    let (WithdrawalCommand::Resume { id, reason } | WithdrawalCommand::Refund { id, reason }) =
        command;
    check_reason(reason)?;
    let id = id.parse().map_err(|error| Failure::Usage(format!("{id} {error}")))?;
    match command {
        WithdrawalCommand::Resume { .. } => resume(id, reason, session).await,
        WithdrawalCommand::Refund { .. } => refund(id, reason, session).await,
    }
}

async fn refund(id: WithdrawalId, reason: &str, session: &Session) -> Result<(), Failure> {
    let outcome = session.store.refund(id, &session.actor, reason).await;
    let (text, answer) = match outcome
        .map_err(|error| Failure::of_store("cannot refund the withdrawal", &error))?
    {
        RefundOutcome::Refunded => ("its money is available again", "refunded"),
        RefundOutcome::Voiding => (
            "the vault was asked to pay it: its number is voided on chain first, and the money is free when that \
                 is final",
            "voiding",
        ),
        RefundOutcome::Unknown => {
            return Err(Failure::Refused(format!("there is no withdrawal {id}")));
        }
        RefundOutcome::Refused(state) => {
            return Err(Failure::Refused(format!(
                "{id} is {state}: only what is held, is carried by no slot and did not arrive short can be \
                     refunded"
            )));
        }
    };
    session.output.show(&format!("{id}: {text}"), &json!({ "id": id, "outcome": answer }));
    Ok(())
}

async fn resume(id: WithdrawalId, reason: &str, session: &Session) -> Result<(), Failure> {
    let outcome = session.store.resume(id, &session.actor, reason).await;
    match outcome.map_err(|error| Failure::of_store("cannot resume the withdrawal", &error))? {
        ResumeOutcome::Resumed => {
            let text = format!("{id} is queued again; policy looks at it anew");
            session.output.show(&text, &json!({ "id": id, "resumed": true }));
            Ok(())
        }
        ResumeOutcome::Unknown => Err(Failure::Refused(format!("there is no withdrawal {id}"))),
        ResumeOutcome::Refused(state) => Err(Failure::Refused(format!(
            "{id} is {state}: only a held withdrawal that no slot carries can be resumed"
        ))),
    }
}

/// Runs `admin audit …`.
pub(crate) async fn audit(command: AuditCommand, session: &Session) -> Result<(), Failure> {
    let AuditCommand::Verify = command;
    let head = session.store.verify_audit().await;
    let head = head.map_err(|error| Failure::of_store("the audit log does not hold", &error))?;
    let balances = session.store.check_ledger().await;
    let balances =
        balances.map_err(|error| Failure::of_store("the ledger does not hold", &error))?;
    let entries = head.map_or(0, |head| head.sequence);
    let hash = head.map(|head| hex::encode(head.hash));
    let text =
        format!("the audit log holds ({entries} entries), and the ledger ({balances} balances)");
    session.output.show(
        &text,
        &json!({ "audit_entries": entries, "audit_head": hash, "balances": balances }),
    );
    Ok(())
}

async fn request(
    kind: CommandKind,
    order: &SlotOrderArgs,
    session: &Session,
) -> Result<(), Failure> {
    check_reason(&order.reason)?;
    let slot = slot_of(&order.slot)?;
    let known = find(slot, session).await?;
    match (kind, &known) {
        (CommandKind::Fill, Some(_)) => {
            return Err(Failure::Refused("the slot is open already: bump or cancel it".to_owned()));
        }
        (CommandKind::Bump | CommandKind::Cancel, None) => {
            return Err(Failure::Refused(format!(
                "no slot with nonce {} of {} was ever opened here",
                slot.nonce, slot.sender
            )));
        }
        _ => {}
    }
    let asked = session.store.request_command(kind, slot, &session.actor, &order.reason).await;
    let is_new = asked.map_err(|error| Failure::of_store("cannot ask the signer", &error))?;
    let text = if is_new {
        "the signer was asked; `admin slot show` tells what became of it"
    } else {
        "the signer was asked before and has not done it yet"
    };
    session.output.show(text, &json!({ "kind": kind.as_str(), "requested": is_new }));
    Ok(())
}

async fn show(arguments: &SlotArgs, session: &Session) -> Result<(), Failure> {
    let slot = slot_of(arguments)?;
    let Some(open) = find(slot, session).await? else {
        return Err(Failure::Refused(format!(
            "no slot with nonce {} of {} was ever opened here",
            slot.nonce, slot.sender
        )));
    };
    let value = slot_value(&open);
    let mut lines = vec![format!("slot {} is {}", open.id, open.stage.as_str())];
    for payment in &open.payments {
        let (id, external_id) = (payment.id, &payment.external_id);
        let (amount, to) = (payment.amount, payment.to);
        lines.push(format!("  pays {id} ({external_id}): {amount} atomic units to {to}"));
    }
    for attempt in &open.attempts {
        let (kind, hash) = (attempt.kind.as_str(), attempt.hash);
        let fee = attempt.fees.max_fee_per_gas_wei;
        let outcome = attempt.last_outcome.as_deref().unwrap_or("not sent yet");
        lines.push(format!("  {kind} {hash} at most {fee} wei per gas: {outcome}"));
    }
    session.output.show(&lines.join("\n"), &value);
    Ok(())
}

fn slot_value(open: &OpenSlot) -> Value {
    let source = if open.purpose == Purpose::Fill { "SYSTEM" } else { "REQUEST" };
    let payments: Vec<Value> = open
        .payments
        .iter()
        .map(|payment| {
            json!({ "id": payment.id, "external_id": payment.external_id, "to": payment.to,
                "amount_atomic": payment.amount.to_string() })
        })
        .collect();
    let attempts: Vec<Value> = open
        .attempts
        .iter()
        .map(|attempt| {
            json!({ "kind": attempt.kind.as_str(), "hash": attempt.hash,
                "max_fee_per_gas_wei": attempt.fees.max_fee_per_gas_wei.to_string(),
                "outcome": attempt.last_outcome,
                "committed_at": attempt.committed_at.to_rfc3339() })
        })
        .collect();
    json!({ "id": open.id, "sender": open.slot.sender, "nonce": open.slot.nonce,
        "stage": open.stage.as_str(), "purpose": open.purpose.as_str(), "source": source,
        "cancel_requested": open.cancel_requested, "payments": payments, "attempts": attempts })
}

async fn find(slot: Slot, session: &Session) -> Result<Option<OpenSlot>, Failure> {
    let found = session.store.slot(slot).await;
    found.map_err(|error| Failure::of_store("cannot read the slot", &error))
}

fn slot_of(arguments: &SlotArgs) -> Result<Slot, Failure> {
    let spec = ChainSpec::by_network(&arguments.network).ok_or_else(|| {
        Failure::Usage(format!("--network: {:?} is no known network", arguments.network))
    })?;
    let sender = parse_address(&arguments.sender)
        .map_err(|error| Failure::Usage(format!("--sender: {} {error}", arguments.sender)))?;
    Ok(Slot { chain_id: spec.chain_id, sender, nonce: arguments.nonce })
}

pub(super) fn check_reason(reason: &str) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Usage("--reason: say why; it goes to the audit log".to_owned()));
    }
    Ok(())
}
