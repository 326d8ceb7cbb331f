//! `hubdns doctor [NAME]`: which hop of the path lies.

use std::io::{IsTerminal, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use tokio::net::UnixStream;

use super::source::Inspected;
use super::{CliError, client, text};
use crate::admin::path::Paths;
use crate::doctor::report::{Report, State};
use crate::doctor::{self, Options, render};

/// The port of DNS servers that are named without one.
const DNS_PORT: u16 = 53;
/// Columns where the terminal does not tell.
const COLUMNS: usize = 100;
/// Longest line on a terminal.
const MAX_COLUMNS: usize = 140;

/// Walk the whole path of a pull and say which hop lies.
///
/// For each name of your registries: the record and who told it, the private
/// zone against the network interface, what hubdns answers by UDP and TCP, what
/// the DNS servers in front of it answer (--via), TCP 443 with TLS and GET /v2/
/// to each address that routes.connect_prefixes admits, and what the upstreams
/// would answer, each by the transport that it is configured with. Each hop is ok, warning, failed or skipped; what is not ok
/// comes with what to do, and each registry ends with a verdict.
///
/// It asks servers by itself, a handful of queries that the budgets of the daemon
/// know nothing of (forward.budget): leave them room where you run it in a loop.
///
/// Exit codes: 0 nothing lies, 1 some hop failed (or the daemon cannot be
/// asked), 2 usage, 3 warnings alone, 78 invalid configuration.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help on a terminal")]
pub(super) struct Doctor {
    /// A registry (contoso or contoso.azurecr.io), one of its names, or any other name; without it
    /// every registry of yours
    #[arg(value_name = "NAME|REGISTRY")]
    name: Option<String>,
    /// A DNS server in front of hubdns to ask as well: where does its conditional forwarder lead?
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    via: Vec<Server>,
    /// Ask hubdns at this address, in place of those that the daemon listens on
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    server: Vec<Server>,
    /// How long an answer or a connection may take, in seconds; by default 3 for DNS and
    /// routes.timeout_seconds for connections
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=60))]
    timeout: Option<u16>,
    /// Ask as the user who calls, not as the service's
    #[arg(long)]
    as_caller: bool,
    /// Show every name by itself
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    from: Inspected,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The address of a DNS server, with or without a port.
#[derive(Clone, Copy, Debug)]
struct Server(SocketAddr);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self(address));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let address =
            bare.parse::<IpAddr>().map_err(|_| format!("{text:?} is no address with or without a port"))?;
        Ok(Self(SocketAddr::new(address, DNS_PORT)))
    }
}

impl Doctor {
    /// Runs it; the exit code is the verdict.
    pub(super) fn run(self) -> ExitCode {
        match self.walk() {
            Ok(code) => code,
            Err(error) => {
                text::complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn walk(self) -> Result<ExitCode, CliError> {
        let offline = self.from.offline()?;
        let mut asked_as = None;
        let paths = if let Some(offline) = &offline {
            offline.paths(self.name.as_deref()).map_err(CliError::Refused)?
        } else {
            let socket = self.from.socket();
            if let Some((uid, gid)) = other_user(&socket) {
                if !self.as_caller && is_root() {
                    // A firewall may tell users apart: what the service sees, its user sees.
                    return Err(become_user(uid, gid));
                }
                asked_as = Some(format!(
                    "Asked as {}; the service runs as {}. A firewall that tells users apart shows only to the \
                     latter.",
                    user_name(own_uid()),
                    user_name(uid)
                ));
            }
            let query = self.name.as_ref().map(|name| format!("?name={}", client::encode(name)));
            client::ask::<Paths>(&socket, Method::GET, &format!("/v1/paths{}", query.unwrap_or_default()))?
        };
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        let options = Options {
            via: self.via.iter().map(|server| server.0).collect(),
            servers: self.server.iter().map(|server| server.0).collect(),
            timeout: seconds(self.timeout.unwrap_or(3)),
            connect_timeout: self.timeout.map(seconds),
            asked_as,
        };
        let report = walk(&paths, &options)?;
        self.show(&report)?;
        Ok(match report.state {
            State::Failed => ExitCode::from(1),
            State::Warning => ExitCode::from(3),
            State::Ok | State::Skipped => ExitCode::SUCCESS,
        })
    }

    fn show(&self, report: &Report) -> Result<(), CliError> {
        if self.json {
            return text::print(&text::json(report)?);
        }
        let width = std::io::stdout().is_terminal().then(columns);
        let page = render::render(report, width, self.verbose);
        let mut out = anstream::stdout().lock();
        match out.write_all(page.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CliError::failed("cannot write to standard output", error))
            }
            _ => Ok(()),
        }
    }
}

fn walk(paths: &Paths, options: &Options) -> Result<Report, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed("cannot start a runtime", error))?;
    let terminal =
        std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let progress = |done: usize, all: usize, name: &str| {
        if terminal {
            let name = if name.is_empty() { "asking".to_owned() } else { text::plain(name) };
            let name: String = name.chars().take(60).collect();
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K[{done}/{all}] {name}");
        }
    };
    let report = runtime.block_on(doctor::walk(paths, options, &progress));
    if terminal {
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
    }
    Ok(report)
}

fn columns() -> usize {
    let told = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    // Longer lines are hard to read whatever the window.
    told.filter(|columns| *columns >= 40).map_or(COLUMNS, |columns| columns.min(MAX_COLUMNS))
}

/// User and group of the daemon behind `socket`, if they are not ours.
fn other_user(socket: &Path) -> Option<(u32, u32)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let credentials = runtime.block_on(async { UnixStream::connect(socket).await?.peer_cred() }).ok()?;
    (credentials.uid() != own_uid()).then(|| (credentials.uid(), credentials.gid()))
}

/// As whom this process runs; the owner of its own directory in /proc tells.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}

fn is_root() -> bool {
    own_uid() == 0
}

/// Runs the same command as the service's user; returns only if that fails.
fn become_user(uid: u32, gid: u32) -> CliError {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return CliError::failed("cannot find this program", error),
    };
    let mut command = std::process::Command::new(program);
    let error = command.args(std::env::args_os().skip(1)).uid(uid).gid(gid).exec();
    let what = format!("cannot ask as {}, the service's user; --as-caller asks as you", user_name(uid));
    CliError::failed(what, error)
}

/// The name of a user, with the number where there is none.
fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    users.lines().find_map(of).unwrap_or_else(|| format!("user {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_need_no_port() {
        for (text, address) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:54", "[2001:db8::53]:54"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().0, address.parse().unwrap(), "{text}");
        }
        assert!("dns.example.org".parse::<Server>().is_err());
    }

    #[test]
    fn users_have_names() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "user 4000000000");
    }
}
