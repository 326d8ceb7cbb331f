//! Logs to standard error, as text or JSON; the level can change at run time.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

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
            fmt::layer().with_writer(std::io::stderr).with_ansi(colors).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
    };
    // Somebody else's subscriber (a test's) stays in place.
    if tracing_subscriber::registry().with(filter).with(output).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
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
