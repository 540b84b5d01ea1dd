//! The timeline of a withdrawal, packed into one column: a line an event, `at|kind|detail`.
//!
//! A set of withdrawals that moves together gets the same line appended by one statement.

use portcullis_core::time::Timestamp;

use crate::convert::Place;
use crate::error::StoreError;

/// One event of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// Counts the events of this withdrawal, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What: `accepted`, `queued`, `signed`.
    pub kind: String,
    /// The particulars: the deciding rule, a reason.
    pub detail: Option<String>,
}

/// The most of a detail that is kept, in bytes. Ours are short; a node's may not be.
const DETAIL_MAX: usize = 200;

/// The beginning of a text that others may have made, without a cut inside a character.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_MAX)]
}

/// The line of one event. What would break the format is replaced.
pub(crate) fn line(at: Timestamp, kind: &str, detail: Option<&str>) -> String {
    let detail = shortened(detail.unwrap_or_default()).replace(['\n', '\r', '|'], " ");
    format!("{}|{kind}|{detail}\n", at.as_millis())
}

pub(crate) fn parse(place: Place<'_>, packed: &str) -> Result<Vec<TimelineEvent>, StoreError> {
    packed
        .lines()
        .zip(1_u64..)
        .map(|(line, sequence)| {
            let mut parts = line.splitn(3, '|');
            let at = parts.next().and_then(|at| at.parse().ok());
            Ok(TimelineEvent {
                sequence,
                at: Timestamp::from_millis(place.known("timeline", at)?),
                kind: place.known("timeline", parts.next())?.to_owned(),
                detail: parts.next().filter(|detail| !detail.is_empty()).map(str::to_owned),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        let packed = line(Timestamp::from_millis(5), "accepted", None)
            + &line(Timestamp::from_millis(9), "rejected", Some("rule daily_max|\nforged|line"));
        let events = parse(Place { table: "withdrawals", row: &[] }, &packed).expect("well formed");
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].sequence, events[0].kind.as_str()), (1, "accepted"));
        assert_eq!(events[0].detail, None);
        assert_eq!(events[1].at, Timestamp::from_millis(9));
        assert_eq!(events[1].detail.as_deref(), Some("rule daily_max  forged line"));
    }

    #[test]
    fn what_others_wrote_is_shortened() {
        let packed = line(Timestamp::from_millis(5), "failed", Some(&"€".repeat(100)));
        let events = parse(Place { table: "withdrawals", row: &[] }, &packed).expect("well formed");
        assert_eq!(events[0].detail.as_deref(), Some("€".repeat(66).as_str()));
    }

    #[test]
    fn damage_is_told() {
        let place = Place { table: "withdrawals", row: &[1] };
        assert!(parse(place, "x|accepted|\n").is_err());
        assert!(parse(place, "5\n").is_err());
    }
}
