//! What libraries, recctl's own warnings and panics write to standard error, in the mode of the
//! rest: with JSON every line is one object.

use std::fmt;
use std::panic::PanicHookInfo;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{OutputMode, write_line};

/// What is let through where `RUST_LOG` does not say. The SDK warns of every place where it found
/// no credentials or region, although the next place may have them; if none has, the failure says so.
const DEFAULT_FILTER: &str = "warn,aws_config=error";

/// Lets warnings through; `RUST_LOG` asks for more.
pub fn start(mode: OutputMode, colour: bool, now: fn() -> DateTime<Utc>) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match mode {
        OutputMode::Json => {
            std::panic::set_hook(Box::new(move |info| tell_panic(info, now())));
            builder.event_format(JsonLine { now }).try_init()
        }
        OutputMode::Terminal | OutputMode::Plain => {
            builder.with_ansi(colour).with_target(false).try_init()
        }
    };
    // A second start in one process (tests) changes nothing.
    let _ = started;
}

/// A line as log collectors read it: when, how loud, and which event. `more` is what the event says.
pub fn line(now: DateTime<Utc>, level: &str, event: &str, more: Map<String, Value>) -> String {
    let mut members = more;
    members.insert("ts".to_owned(), now.to_rfc3339_opts(SecondsFormat::Millis, true).into());
    members.insert("level".to_owned(), level.into());
    members.insert("event".to_owned(), event.into());
    Value::Object(members).to_string()
}

/// Formats events of `tracing`, whose names are those of the lines of a run.
struct JsonLine {
    now: fn() -> DateTime<Utc>,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        fields.0.insert("target".to_owned(), metadata.target().into());
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        writeln!(writer, "{}", line((self.now)(), level, "logged", fields.0))
    }
}

/// The fields of an event; its words are `message`.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

fn tell_panic(info: &PanicHookInfo<'_>, now: DateTime<Utc>) {
    let words = info.payload_as_str().unwrap_or("a panic without words");
    let place = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    let text = panic_line(now, words, place.as_deref(), thread.name());
    write_line(&mut std::io::stderr(), &text);
}

fn panic_line(
    now: DateTime<Utc>,
    words: &str,
    place: Option<&str>,
    thread: Option<&str>,
) -> String {
    let mut more = Map::new();
    more.insert("message".to_owned(), words.into());
    more.insert("at".to_owned(), place.into());
    more.insert("thread".to_owned(), thread.into());
    line(now, "error", "panicked", more)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_logged_takes_one_line() {
        let paper = Paper::default();
        let out = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || out.clone())
            .event_format(JsonLine { now: noon })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(tries = 2, why = %"a \"b\"\nc", "could not renew");
        });
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        insta::assert_snapshot!(text, @r#"{"event":"logged","level":"warn","message":"could not renew","target":"recctl::report::log::tests","tries":2,"ts":"2026-03-02T12:00:00.000Z","why":"a \"b\"\nc"}"#);
    }

    #[test]
    fn a_panic_takes_one_line() {
        let text = panic_line(noon(), "one\ntwo", Some("src/x.rs:1:2"), Some("query"));
        insta::assert_snapshot!(text, @r#"{"at":"src/x.rs:1:2","event":"panicked","level":"error","message":"one\ntwo","thread":"query","ts":"2026-03-02T12:00:00.000Z"}"#);
    }
}
