//! From a path or a text to a [`Config`]: read, overrides, validate.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::error::{ConfigError, Report};
use super::file::ConfigFile;
use super::schema::read_table;
use super::{Config, validate};

/// The configuration without a file.
const QUICK_START: &str = include_str!("../../config/quickstart.toml");

/// What the quick start is called in messages.
const QUICK_START_NAME: &str = "quickstart.toml (built in)";

/// Values from the command line or `HUBDNS_*` variables, which go before the
/// file's. Text as it was given: it is read and checked as the file's values
/// are, and reported by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces `server.listen`, unless empty.
    pub listen: Vec<String>,
    /// Replaces `admin.listen`, unless empty.
    pub admin_listen: Vec<String>,
    /// Replaces `server.workers`.
    pub workers: Option<String>,
    /// Replaces `server.state_dir`; a relative path starts at the working directory.
    pub state_dir: Option<PathBuf>,
    /// Replaces `server.control_socket`; a relative path starts at the working
    /// directory, an empty one means no socket.
    pub control_socket: Option<PathBuf>,
    /// Replaces `log.format`.
    pub log_format: Option<String>,
    /// Replaces `log.level`.
    pub log_level: Option<String>,
}

impl Overrides {
    /// The values other than paths (which need not be Unicode) as TOML.
    fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| text.extend([key, " = ", value.as_str(), "\n"]);
        let list = |items: &[String]| {
            format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
        };
        if !self.listen.is_empty() {
            line("server.listen", list(&self.listen));
        }
        if !self.admin_listen.is_empty() {
            line("admin.listen", list(&self.admin_listen));
        }
        if let Some(workers) = &self.workers {
            let number = workers.trim().parse::<u32>();
            line("server.workers", number.map_or_else(|_| quoted(workers), |n| n.to_string()));
        }
        if let Some(format) = &self.log_format {
            line("log.format", quoted(format));
        }
        if let Some(level) = &self.log_level {
            line("log.level", quoted(level));
        }
        text
    }

    fn apply(&self, file: &mut ConfigFile, report: &mut Report) {
        report.start_overrides();
        let text = self.to_toml();
        let table = DeTable::parse(&text).expect("overrides are written as TOML");
        read_table(file, table.get_ref(), "", report);
        if let Some(path) = &self.state_dir {
            report.replace("server.state_dir");
            file.server.state_dir = absolute(path);
        }
        if let Some(path) = &self.control_socket {
            report.replace("server.control_socket");
            file.server.control_socket = absolute(path);
        }
    }
}

/// Stays empty where it is empty, and as it is where there is no working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl Config {
    /// Reads and validates the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &Overrides::default())
    }

    /// Like [`Config::load`], with values from the command line.
    pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let name = path.display().to_string();
        let base_dir = absolute(path).parent().map_or_else(PathBuf::new, Path::to_owned);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse_with(text, &name, &base_dir, overrides),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let text = String::from_utf8_lossy(valid);
                let mut report = Report::new(&name, &text);
                report.add_syntax(text.len(), &text, "a byte that is not UTF-8");
                Err(ConfigError::Invalid(report.finish()))
            }
        }
    }

    /// Validates `text`. Messages call it `file_name`; relative paths in it
    /// start at `base_dir`.
    pub fn parse(text: &str, file_name: &str, base_dir: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, file_name, base_dir, &Overrides::default())
    }

    /// Like [`Config::parse`], with values from the command line.
    pub fn parse_with(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let (file, report) = read(text, file_name, overrides)?;
        validate::validate(&file, base_dir, report)
    }

    /// The configuration without a file: the example estate on loopback, the
    /// rest forwarded to the host's own resolvers, files in a directory of the
    /// user's own.
    pub fn quick_start() -> Result<Self, ConfigError> {
        Self::quick_start_with(&Overrides::default())
    }

    /// Like [`Config::quick_start`], with values from the command line.
    pub fn quick_start_with(overrides: &Overrides) -> Result<Self, ConfigError> {
        let (mut file, report) = read(QUICK_START, QUICK_START_NAME, overrides)?;
        let variable = |name: &str| std::env::var_os(name);
        if overrides.state_dir.is_none() {
            file.server.state_dir = user_state_dir(variable);
        }
        if overrides.control_socket.is_none() {
            file.server.control_socket = user_socket(variable, &file.server.state_dir);
        }
        validate::validate(&file, Path::new("/"), report)
    }
}

fn read(text: &str, file_name: &str, overrides: &Overrides) -> Result<(ConfigFile, Report), ConfigError> {
    let mut report = Report::new(file_name, text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let offset = error.span().map_or(text.len(), |span| span.start);
            report.add_syntax(offset, text, error.message());
            return Err(ConfigError::Invalid(report.finish()));
        }
    };
    let mut file = ConfigFile::default();
    read_table(&mut file, table.get_ref(), "", &mut report);
    overrides.apply(&mut file, &mut report);
    Ok((file, report))
}

/// A directory for state that needs no privileges: by the XDG base directory
/// specification, else below the temporary directory, one per user.
fn user_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return state.join("hubdns");
    }
    match absolute("HOME").filter(|home| home.parent().is_some()) {
        Some(home) => home.join(".local/state/hubdns"),
        None => std::env::temp_dir().join(format!("hubdns-{}", user_id())),
    }
}

/// The control socket beside it, or where sockets of this user belong. A path
/// that is too long for a socket would fail the quick start: then none.
fn user_socket(variable: impl Fn(&str) -> Option<OsString>, state_dir: &Path) -> PathBuf {
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let socket = match runtime {
        Some(runtime) => runtime.join("hubdns/control.sock"),
        None => state_dir.join("control.sock"),
    };
    if validate::fits_socket(&socket) { socket } else { PathBuf::new() }
}

/// The user that runs this process; 0 where `/proc` is missing.
fn user_id() -> u32 {
    std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn quick_start_state_is_the_users_own() {
        for (pairs, expected) in [
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/home/a")][..], "/s/hubdns"),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/home/a")], "/home/a/.local/state/hubdns"),
        ] {
            assert_eq!(user_state_dir(environment(pairs)), Path::new(expected));
        }
        // A system user may have no home, or the root directory as one.
        for pairs in [&[][..], &[("HOME", "/")]] {
            let dir = user_state_dir(environment(pairs));
            assert!(dir.starts_with(std::env::temp_dir()), "{}", dir.display());
        }
    }

    #[test]
    fn quick_start_socket_fits_or_is_left_out() {
        let runtime = environment(&[("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(user_socket(runtime, Path::new("/s")), Path::new("/run/user/7/hubdns/control.sock"));
        assert_eq!(user_socket(environment(&[]), Path::new("/s")), Path::new("/s/control.sock"));
        let long = PathBuf::from(format!("/{}", "x".repeat(120)));
        assert_eq!(user_socket(environment(&[]), &long), Path::new(""));
    }

    #[test]
    fn quoting_keeps_text_text() {
        let odd = "a\"b\\c\n\u{7f}é".to_owned();
        let text = format!("key = {}", quoted(&odd));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["key"].as_str(), Some(odd.as_str()));
    }
}
