//! A scripted Azure: Entra and Resource Manager over real HTTPS on loopback,
//! with an estate that tests edit, faults that they switch on, and a log.
//!
//! ```text
//! tests/data/azure/composed/contoso-hub.json ─▶ Estate ─▶ respond ─▶ faults ─▶ HTTPS
//!                                   edit ──────────┘                  │
//!                                                   every request ─▶ Log
//! ```
//!
//! Include it with `#[path = "common/azure/mod.rs"] mod azure;`. All calls
//! block; in an asynchronous test use a multi-threaded runtime.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "every test binary uses its part of this")]

pub mod edits;
pub mod entra;
pub mod estate;
pub mod faults;
pub mod graph;
pub mod log;
pub mod respond;
pub mod serve;
pub mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use estate::{Estate, HUB, WORKLOAD};
pub use faults::{Fault, Kind, Matcher};
pub use log::{Authorization, Seen};
use state::State;

/// The tenant of the estate.
pub const TENANT: &str = "99999999-9999-9999-9999-999999999999";
/// The client that has a secret there.
pub const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
/// Its secret.
pub const SECRET: &str = "a secret that no log may show";
/// The audience of the tokens.
pub const AUDIENCE: &str = "https://management.example.org";
/// A token that is accepted from the start, for identities without Entra.
pub const FIXED_TOKEN: &str = "fixed-token-of-the-tests";

/// A running server; dropped, it is gone.
pub struct Azure {
    state: Arc<State>,
    address: SocketAddr,
    /// CA certificate and client secret are in here.
    directory: tempfile::TempDir,
    _running: serve::Running,
}

impl Azure {
    /// Serves the estate of `contoso-hub.json`.
    pub fn start() -> Self {
        Self::start_with(Estate::contoso())
    }

    /// Serves `estate`.
    pub fn start_with(estate: Estate) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = Arc::new(State::new(estate));
        let (running, address, ca) = serve::start(Arc::clone(&state));
        std::fs::write(directory.path().join("ca.pem"), ca).expect("written");
        std::fs::write(directory.path().join("secret"), SECRET).expect("written");
        Self { state, address, directory, _running: running }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:port`: authority and Resource Manager alike.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The PEM file of its CA.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The file with the client's secret.
    pub fn secret_file(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    /// A source that reads this server as the client with the secret.
    pub fn source_toml(&self) -> String {
        self.source_toml_with("")
    }

    /// The same with more keys of `[[sources.azure]]`, a line each.
    pub fn source_toml_with(&self, keys: &str) -> String {
        let (url, ca, secret) = (self.url(), self.ca_file(), self.secret_file());
        format!(
            "[[sources.azure]]\ncloud = \"custom\"\nauthority = \"{url}\"\nresource_manager = \"{url}\"\n\
             audience = \"{AUDIENCE}\"\nca_file = \"{}\"\n{keys}\n[sources.azure.identity]\n\
             credentials = [\"client-secret\"]\ntenant = \"{TENANT}\"\nclient_id = \"{CLIENT}\"\n\
             client_secret_file = \"{}\"\n",
            ca.display(),
            secret.display()
        )
    }

    /// The source as the configuration has it.
    pub fn source(&self, keys: &str) -> hubdns::config::AzureSource {
        let toml = self.source_toml_with(keys);
        let config = hubdns::config::Config::parse(&toml, "test.toml", self.directory.path())
            .expect("a configuration");
        let azure = config.sources.into_iter().find_map(|source| match source {
            hubdns::config::Source::Azure(azure) => Some(*azure),
            _ => None,
        });
        azure.expect("the source azure")
    }

    /// Changes the estate.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Estate) -> T) -> T {
        change(&mut self.state.estate.lock().expect("no panic"))
    }

    /// Answers requests of `what` by `fault` until cleared.
    pub fn fault(&self, what: impl Into<Matcher>, fault: Fault) {
        self.state.faults.add(what.into(), fault, None);
    }

    /// Answers the next `times` requests of `what` by `fault`.
    pub fn fault_times(&self, what: impl Into<Matcher>, fault: Fault, times: u32) {
        self.state.faults.add(what.into(), fault, Some(times));
    }

    /// Ends all faults; requests that hang are answered.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Answers the requests that hang by [`Fault::Slow`]; the fault stays.
    pub fn release(&self) {
        self.state.faults.release();
    }

    /// How long tokens last that are issued from now on, in seconds.
    pub fn token_lifetime(&self, seconds: u64) {
        self.state.tokens.lifetime(seconds);
    }

    /// Accepts no token that was issued so far: 401.
    pub fn revoke_tokens(&self) {
        self.state.tokens.revoke();
    }

    /// Accepts this token too.
    pub fn accept_token(&self, token: &str) {
        self.state.tokens.accept(token);
    }

    /// Sends bodies compressed to clients that take gzip.
    pub fn gzip(&self, on: bool) {
        self.state.gzip.store(on, std::sync::atomic::Ordering::SeqCst);
    }

    /// All requests so far, in order.
    pub fn log(&self) -> Vec<Seen> {
        self.state.log.all()
    }

    /// How many requests of a kind there were.
    pub fn count(&self, kind: Kind) -> usize {
        self.state.log.count(|seen| seen.kind == kind)
    }

    /// Requests to Resource Manager: all but those for tokens.
    pub fn arm_count(&self) -> usize {
        self.state.log.count(|seen| seen.kind != Kind::Token && seen.kind != Kind::Discovery)
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.state.log.clear();
    }

    /// Waits until there were `count` requests of `kind`.
    pub fn wait_for(&self, kind: Kind, count: usize) {
        let what = format!("{count} requests of {kind:?}");
        self.wait_until(&what, |log| log.iter().filter(|seen| seen.kind == kind).count() >= count);
    }

    /// Waits until the log is as wanted; fails with the log when that does not come.
    pub fn wait_until(&self, what: &str, wanted: impl FnMut(&[Seen]) -> bool) {
        self.state.log.wait_until(what, wanted);
    }
}
