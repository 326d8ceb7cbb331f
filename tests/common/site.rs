//! A directory with a zone file, saved Azure output and a place for the state,
//! and a clock that the test moves.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hubdns::config::Config;
use hubdns::metrics::sync::SyncMetrics;
use hubdns::sync::clock::Clock;
use hubdns::sync::{State, Sync};
use hubdns::wire::Name;

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A clock that only the test moves.
#[derive(Clone, Debug)]
pub struct ManualClock {
    wall: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { wall: Arc::new(AtomicU64::new(1_000_000)), steady: Arc::new(AtomicU64::new(1_000_000)) }
    }
}

impl ManualClock {
    pub fn advance(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
        self.steady.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn set_wall(&self, wall: u64) {
        self.wall.store(wall, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn steady(&self) -> u64 {
        self.steady.load(Ordering::SeqCst)
    }
}

pub struct Site {
    pub dir: tempfile::TempDir,
    pub clock: ManualClock,
}

impl Site {
    pub fn new(hosts: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap(), clock: ManualClock::default() };
        site.write(hosts);
        site
    }

    pub fn zone(&self) -> PathBuf {
        self.dir.path().join("zone")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn write(&self, hosts: &str) {
        let mut text = "@ 60 SOA ns admin 7 3600 600 86400 300\n".to_owned();
        for host in hosts.split_whitespace() {
            writeln!(text, "{host} 60 A 10.0.0.1").unwrap();
        }
        fs::write(self.zone(), text).unwrap();
    }

    pub fn write_estate(&self, json: &str) {
        fs::write(self.dir.path().join("estate.json"), json).unwrap();
    }

    pub fn config(&self) -> Config {
        let dir = self.dir.path().display();
        let mut toml = format!(
            "server.state_dir = \"{dir}/state\"\n[[upstreams]]\nname = \"u\"\naddresses = [\"127.0.0.1:9\"]\n\
             [forward]\ndefault = \"u\"\n[[sources.zone_file]]\nzone = \"corp.example\"\npath = \"{dir}/zone\"\n"
        );
        if self.dir.path().join("estate.json").exists() {
            write!(toml, "[[sources.az_json]]\nname = \"estate\"\npath = \"{dir}/estate.json\"\n").unwrap();
        }
        Config::parse(&toml, "test.toml", self.dir.path()).unwrap()
    }

    pub fn start(&self) -> Sync {
        self.start_of(&self.config())
    }

    /// What is on disk, as another process would find it.
    pub fn start_elsewhere(&self) -> Sync {
        Sync::rehearse(&self.config())
    }

    pub fn start_of(&self, config: &Config) -> Sync {
        Sync::start_at(config, Arc::new(SyncMetrics::default()), Box::new(self.clock.clone()))
    }
}

/// The owner names that are served, sorted.
pub fn owners(state: &State) -> Vec<String> {
    let rrsets = state.set.zones.iter().flat_map(|zone| &zone.rrsets);
    let mut owners: Vec<String> = rrsets.map(|rrset| rrset.owner.to_string()).collect();
    owners.sort();
    owners
}
