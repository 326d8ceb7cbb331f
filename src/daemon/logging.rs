//! Logs to standard error, as text or JSON; the level can change at run time.
//!
//! Each event is one line, whatever is in its fields: what could end the line
//! or act on a terminal is escaped on the way out, in one place, beside
//! `events::outside` and what the formatters do themselves. An event of a
//! library is no exception.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};
use crate::outside;

/// The way to the filter in force, once logs are on.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Libraries below the live source that say at `info` what each request did.
/// What matters of it is said by hubdns itself.
const QUIET: &str = "azure_core=warn,azure_identity=warn,typespec_client_core=warn";

/// Turns logs on. A second call changes the level alone.
///
/// # Errors
/// The level is no filter directive; nothing has changed then.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter = filter(&log.level)?;
    if FILTER.get().is_some() {
        set(filter);
        return Ok(());
    }
    let (filter, handle) = reload::Layer::new(filter);
    let output = match log.format {
        LogFormat::Text => {
            let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            text(colors, std::io::stderr)
        }
        LogFormat::Json => json(std::io::stderr),
    };
    // Somebody else's subscriber (a test's) stays in place.
    if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Events as text for people.
fn text<S, W>(colors: bool, out: impl Fn() -> W + Send + Sync + 'static) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: Write + 'static,
{
    // The formatter writes escape sequences for its colors. Of values it escapes some alone,
    // so that all of them are escaped here before it gets them.
    let fields = format::debug_fn(|out, field: &Field, value| {
        let value = outside::plain(&format!("{value:?}"));
        match field.name() {
            "message" => write!(out, "{value}"),
            // What a library says by the `log` crate brings its place in fields of this prefix.
            name if name.starts_with("log.") => Ok(()),
            name => write!(out, "{}={value}", name.strip_prefix("r#").unwrap_or(name)),
        }
    });
    let escape = move |line: &str| {
        let mut shown = String::with_capacity(line.len());
        for character in line.chars() {
            if colors && character == '\u{1b}' {
                shown.push(character);
            } else {
                let _ = outside::write_plain(&mut shown, character);
            }
        }
        shown
    };
    fmt::layer()
        .fmt_fields(fields.delimited(" "))
        .with_writer(move || Line { out: out(), escape })
        .with_ansi(colors)
        .boxed()
}

/// Events as JSON, one object a line.
fn json<S, W>(out: impl Fn() -> W + Send + Sync + 'static) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: Write + 'static,
{
    let escape = |line: &str| outside::json(line.to_owned());
    fmt::layer().with_writer(move || Line { out: out(), escape }).json().flatten_event(true).boxed()
}

/// Takes one event, which the formatters write at once, and passes it on as one line.
struct Line<W, E> {
    out: W,
    escape: E,
}

impl<W: Write, E: Fn(&str) -> String> Write for Line<W, E> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = (self.escape)(line);
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Changes the level.
///
/// # Errors
/// The level is no filter directive; the one before stays in force.
pub fn set_level(level: &str) -> Result<(), ParseError> {
    set(filter(level)?);
    Ok(())
}

/// The filter of a level or of directives, which go before [`QUIET`].
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    // Alone, so that a mistake in it is told as it was written.
    EnvFilter::try_new(level)?;
    EnvFilter::try_new(format!("{QUIET},{level}"))
}

fn set(filter: EnvFilter) {
    if let Some(handle) = FILTER.get() {
        // Fails only when the subscriber is gone, and logs with it.
        let _ = handle.reload(filter);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::events;
    use crate::outside::is_hidden;

    /// What was written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        /// What comes of events with `value` in all the ways that there are.
        fn of(value: &str, layer: impl FnOnce(Self) -> Box<dyn Layer<Registry> + Send + Sync>) -> String {
            let kept = Self::default();
            tracing::subscriber::with_default(Registry::default().with(layer(kept.clone())), || {
                let span = tracing::error_span!("span", inner = %value);
                let _entered = span.enter();
                tracing::error!(plain = value, shown = %value, debugged = ?value, "{value}");
                tracing::error!(safe = %events::outside(value), "constant");
            });
            let bytes = kept.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        }
    }

    fn hostile() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "<script>",
            "\n2026-01-01T00:00:00.000000Z ERROR hubdns: forged\n",
            "\r",
            "\u{1b}[2J",
            "\u{9b}31m",
            "\u{7f}",
            "\0",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "\u{200b}",
            "\"",
            "'",
            "\\",
            "\\n",
            "\",\"level\":\"INFO\"}",
        ]);
        let part = prop_oneof![known.prop_map(str::to_owned), any::<char>().prop_map(String::from)];
        prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn an_event_is_one_line_of_text_whatever_is_in_it(value in hostile()) {
            let log = Kept::of(&value, |kept| text(false, move || kept.clone()));
            prop_assert_eq!(log.lines().count(), 2, "{:?}", log);
            prop_assert!(!log.contains(|c| c != '\n' && is_hidden(c)), "{:?}", log);
        }

        #[test]
        fn colors_are_the_formatters_alone(value in hostile()) {
            let escapes = |text: &str| text.matches('\u{1b}').count();
            let harmless = Kept::of("x", |kept| text(true, move || kept.clone()));
            prop_assert!(escapes(&harmless) > 0);
            let log = Kept::of(&value, |kept| text(true, move || kept.clone()));
            prop_assert_eq!(log.lines().count(), 2, "{:?}", log);
            prop_assert_eq!(escapes(&log), escapes(&harmless), "{:?}", log);
            prop_assert!(!log.contains(|c| !"\n\u{1b}".contains(c) && is_hidden(c)), "{:?}", log);
        }

        #[test]
        fn an_event_is_one_object_whatever_is_in_it(value in hostile()) {
            let log = Kept::of(&value, |kept| json(move || kept.clone()));
            prop_assert!(!log.contains(|c| c != '\n' && is_hidden(c)), "{:?}", log);
            let events: Vec<serde_json::Value> =
                log.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
            prop_assert_eq!(events.len(), 2, "{:?}", log);
            for key in ["plain", "shown", "message"] {
                prop_assert_eq!(&events[0][key], &value, "{}", key);
            }
            prop_assert_eq!(&events[0]["level"], "ERROR");
        }
    }
}
