//! The sync over the scripted Azure, cycle by cycle: what is published, and
//! what is wrong with it.

#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use hubdns::config::Config;
use hubdns::metrics::sync::SyncMetrics;
use hubdns::sync::watch::{Command, Handle, spawn};
use hubdns::sync::{Report, State, Status, Sync};
use hubdns::wire::Rtype;

use crate::azure::Azure;

/// Nothing that is awaited takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// Public names with their addresses.
pub type Answers = BTreeMap<String, Vec<Ipv4Addr>>;

/// The sync's thread, its state directory and its Azure.
pub struct Rig {
    pub azure: Azure,
    pub directory: tempfile::TempDir,
    status: Status,
    handle: Option<Handle>,
    keys: String,
    more: String,
}

impl Rig {
    /// Over `azure`, with further `keys` of the source and `more` of the configuration.
    pub fn new(azure: Azure, keys: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keys, more) = (keys.to_owned(), more.to_owned());
        let mut rig = Self { azure, directory, status: Status::default(), handle: None, keys, more };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let sync = Sync::start(&self.config(), Arc::new(SyncMetrics::default()));
        self.status = sync.status();
        self.handle = Some(spawn(sync).expect("a thread"));
    }

    fn commands(&self) -> Sender<Command> {
        self.handle.as_ref().expect("it runs").commands()
    }

    /// The configuration it runs with.
    pub fn config(&self) -> Config {
        config(&self.azure, self.directory.path(), &self.keys, &self.more)
    }

    /// Has Azure read once, whole, and waits for the cycle that publishes it.
    pub fn cycle(&mut self) -> Report {
        let (done, report) = channel();
        self.commands().send(Command::ReadNow { done: Some(done) }).expect("it runs");
        report.recv_timeout(PATIENCE).expect("a report")
    }

    /// Waits until the pass that every start begins with has ended.
    pub fn wait_until_read(&self) {
        let start = std::time::Instant::now();
        while self.state().sources.iter().any(|source| source.is_pending || source.last_success.is_none()) {
            assert!(start.elapsed() < PATIENCE, "the first pass does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends this sync and starts another from its state directory.
    pub fn restart(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop();
        }
        self.start();
    }

    /// What others see of the sync.
    pub fn state(&self) -> Arc<State> {
        self.status.get()
    }

    /// What public names are answered with.
    pub fn answers(&self) -> Answers {
        let set = Arc::clone(&self.state().set);
        let rrsets: Vec<_> = set.zones.iter().flat_map(|zone| &zone.rrsets).collect();
        let addresses = |owner| {
            let held = rrsets.iter().filter(move |rrset| rrset.owner == owner && rrset.rtype == Rtype::A);
            let octets = held.flat_map(|rrset| rrset.rdatas.iter());
            octets.map(|rdata| Ipv4Addr::from(<[u8; 4]>::try_from(rdata).expect("an address"))).collect()
        };
        set.aliases.iter().map(|alias| (alias.public.to_string(), addresses(alias.target.clone()))).collect()
    }

    /// Every RRset as text: owner, TTL, type, data.
    pub fn records(&self) -> BTreeSet<String> {
        let set = Arc::clone(&self.state().set);
        let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets);
        let line = |rrset: hubdns::snapshot::model::RrsetRef<'_>| {
            let mut line = format!("{} {} {}", rrset.owner, rrset.ttl, rrset.rtype);
            for rdata in &rrset.rdatas {
                let _ = write!(line, " {}", hubdns::wire::rdata::to_text(rrset.rtype, rdata));
            }
            line
        };
        rrsets.map(line).collect()
    }

    /// The findings as code and name.
    pub fn findings(&self) -> BTreeSet<(String, String)> {
        let state = self.state();
        let pair = |finding: &hubdns::findings::Finding| (finding.code.to_string(), finding.name.clone());
        state.findings.iter().map(pair).collect()
    }
}

fn config(azure: &Azure, directory: &std::path::Path, keys: &str, more: &str) -> Config {
    let toml = format!(
        "[server]\nstate_dir = \"{}\"\n\n{more}\n{}",
        directory.join("state").display(),
        azure.source_toml_with(keys)
    );
    Config::parse(&toml, "test.toml", directory).expect("a configuration")
}

/// The addresses of `expected.from_nics`, and more as `name address`.
pub fn expected(more: &[(&str, &str)]) -> Answers {
    let text = include_str!("../data/azure/composed/contoso-hub.json");
    let data: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let named = data["expected"]["from_nics"].as_object().expect("an object");
    let address = |text: &str| vec![text.parse().expect("an address")];
    let mut all: Answers =
        named.iter().map(|(name, text)| (name.clone(), address(text.as_str().expect("text")))).collect();
    all.extend(more.iter().map(|(name, text)| ((*name).to_owned(), address(text))));
    all
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop();
        }
    }
}
