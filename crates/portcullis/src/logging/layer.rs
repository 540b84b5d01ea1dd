//! Turns events into lines.

use std::sync::Arc;

use portcullis_core::time::Clock;
use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::event::Fields;
use super::{Identity, json, text};
use crate::config::LogFormat;

/// What a line says beside its fields.
pub(super) struct Line<'a> {
    pub(super) timestamp: String,
    pub(super) level: Level,
    pub(super) service: &'a str,
    pub(super) correlation: &'a str,
    pub(super) message: &'a str,
    pub(super) target: &'a str,
}

/// Writes every event as one line with one `write`, fields of its spans included.
pub(crate) struct LogLayer<W> {
    format: LogFormat,
    color: bool,
    identity: Identity,
    clock: Arc<dyn Clock>,
    writer: W,
}

impl<W> LogLayer<W> {
    /// Writes to whatever `writer` makes.
    pub(crate) fn new(
        format: LogFormat,
        color: bool,
        identity: Identity,
        clock: Arc<dyn Clock>,
        writer: W,
    ) -> Self {
        Self { format, color, identity, clock, writer }
    }

    fn line(&self, event: &Event<'_>, mut fields: Fields) -> String {
        let correlation = fields.correlation();
        let message = match fields.take("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => event.metadata().name().to_owned(),
        };
        let line = Line {
            timestamp: self.clock.now().to_rfc3339(),
            level: *event.metadata().level(),
            service: &self.identity.service,
            correlation: correlation.as_deref().unwrap_or(&self.identity.instance),
            message: &message,
            target: event.metadata().target(),
        };
        // It is there as correlationId; a second copy of it helps nobody.
        fields.take("correlation_id");
        match self.format {
            LogFormat::Json => json::format(&line, &fields),
            LogFormat::Text => text::format(&line, &fields, self.color),
        }
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        let line = self.line(event, fields);
        let mut writer = self.writer.make_writer_for(event.metadata());
        // A log that cannot be written is no reason to stop paying.
        let _outcome = std::io::Write::write_all(&mut writer, line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use portcullis_core::time::Timestamp;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_795_190_399_999)
        }
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, color: bool, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let identity = Identity { service: "signer".into(), instance: "run_1".into() };
        let layer = LogLayer::new(format, color, identity, Arc::new(Fixed), move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
    }

    #[test]
    fn a_json_line_has_the_required_names_first() {
        let text = logged(LogFormat::Json, false, || {
            tracing::info!(target: "here", nonce = 7_u64, wei = 1_u128 << 100, ok = true, "sent");
        });
        assert_eq!(
            text,
            "{\"timestamp\":\"2026-11-20T15:59:59.999Z\",\"level\":\"INFO\",\"service\":\"signer\",\
             \"correlationId\":\"run_1\",\"message\":\"sent\",\"target\":\"here\",\"nonce\":7,\
             \"wei\":\"1267650600228229401496703205376\",\"ok\":true}\n"
        );
    }

    #[test]
    fn spans_give_their_fields_and_the_correlation() {
        let text = logged(LogFormat::Json, false, || {
            let outer = tracing::info_span!("request", request_id = "req-9", method = "POST");
            let _in_outer = outer.enter();
            let inner = tracing::info_span!("step", method = "inner", late = tracing::field::Empty);
            inner.record("late", 5);
            let _in_inner = inner.enter();
            tracing::warn!("slow");
        });
        let line: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(line["correlationId"], "req-9");
        assert_eq!(line["method"], "inner", "the inner span is nearer");
        assert_eq!(line["late"], 5);
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn the_most_general_correlation_wins() {
        let text = logged(LogFormat::Json, false, || {
            tracing::info!(request_id = "r", correlation_id = "c", "x");
            tracing::info!(withdrawal_id = "wd_1", "y");
        });
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
            .collect();
        assert_eq!(lines[0]["correlationId"], "c");
        assert_eq!(lines[0]["correlation_id"], Value::Null);
        assert_eq!(lines[1]["correlationId"], "wd_1");
    }

    #[test]
    fn nothing_from_outside_breaks_a_line_or_takes_a_required_name() {
        let text = logged(LogFormat::Json, false, || {
            tracing::info!(level = "fake", note = "a\nb\u{1b}[31m", "two\nlines");
        });
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["field_level"], "fake");
        assert_eq!(line["message"], "two\nlines");
    }

    #[test]
    fn a_text_line_is_plain_without_a_terminal() {
        let text = logged(LogFormat::Text, false, || {
            tracing::error!(hash = "0xab", reason = "no route", "cannot\u{1b}[31m send");
        });
        assert_eq!(
            text,
            "15:59:59.999 ERROR cannot\\u{1b}[31m send hash=0xab reason=\"no route\"\n"
        );
        let colored = logged(LogFormat::Text, true, || tracing::error!("x"));
        assert!(colored.contains("\u{1b}[31mERROR\u{1b}[0m"));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot sign")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk full"));
        let text = logged(LogFormat::Json, false, || {
            tracing::error!(error = &error as &dyn std::error::Error, "step failed");
        });
        let line: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(line["error"], "cannot sign: disk full");
    }
}
