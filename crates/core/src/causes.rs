//! An error as one sentence: what it says, and what its causes say.

use std::error::Error;

/// The message, and behind it those of its causes that it does not repeat already.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn causes_stand_behind_the_message_and_nothing_twice() {
        let chain = ["refused", "connect: refused", "the database"];
        let error =
            chain.into_iter().fold(None, |source, text| Some(Box::new(Link { text, source })));
        let error = error.expect("three links");
        assert_eq!(with_causes(&error), "the database: connect: refused");
        assert_eq!(with_causes(&Link { text: "alone", source: None }), "alone");
    }
}
