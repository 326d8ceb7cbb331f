//! The record set without a daemon: from a state directory, or from the
//! sources of a configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::inspect::{Inspection, finding_rows};
use crate::admin::inventory::Inventory;
use crate::admin::path::Paths;
use crate::admin::view::{Explanation, FindingRow, RecordRow};
use crate::config::Config;
use crate::doctor::plan::{self, Known};
use crate::findings::{self, Finding, Ignored, examine};
use crate::routes::RouteTable;
use crate::snapshot::Snapshot;
use crate::snapshot::model::{AnswerOptions, RecordSet};
use crate::sources::facts::Listing;
use crate::sources::{self, SourceError};
use crate::sync::findings::Facts;
use crate::sync::memory::Memory;
use crate::sync::merge::merge;
use crate::sync::persist::{self, PersistError};
use crate::sync::policy::{Policy, answer_options};
use crate::sync::provenance::Provenance;

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// A source of the configuration could not be read.
    #[error("source {name}")]
    Source {
        /// Its name.
        name: String,
        /// Why not.
        source: SourceError,
    },
    /// The state directory holds no set.
    #[error("no saved record set in {}", .0.display())]
    Nothing(PathBuf),
    /// The state directory holds no good set.
    #[error("no good record set in {}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the newest.
        source: PersistError,
    },
}

/// A record set with all that explains it.
#[derive(Debug)]
pub struct Offline {
    config: Config,
    options: AnswerOptions,
    set: RecordSet,
    snapshot: Snapshot,
    provenance: Provenance,
    /// When the set was published, Unix seconds; 0 if it never was.
    created: u64,
    listings: Vec<Listing>,
    findings: Vec<Finding>,
}

impl Offline {
    /// The newest good set in `directory`, answered as `config` says.
    ///
    /// # Errors
    /// There is none.
    pub fn saved(config: Config, directory: &Path) -> Result<Self, OfflineError> {
        let loaded = persist::load(directory);
        let path = directory.to_owned();
        match (loaded.saved, loaded.problems.into_iter().next()) {
            (Some(saved), _) => {
                let facts = saved.facts.unwrap_or_default();
                let header = saved.header;
                let mut offline =
                    Self::new(config, saved.set, facts.provenance, header.generation, header.created);
                offline.look_for_findings(facts.listings, &facts.memory, facts.findings);
                Ok(offline)
            }
            (None, Some(source)) => Err(OfflineError::Damaged { path, source }),
            (None, None) => Err(OfflineError::Nothing(path)),
        }
    }

    /// What the sources of `config` say now: nothing remembered, nothing held back,
    /// no way checked.
    ///
    /// # Errors
    /// A source that cannot be read.
    pub fn read(config: Config) -> Result<Self, OfflineError> {
        let mut listings = Vec::new();
        for source in sources::open(&config) {
            let read = source.read();
            let name = || source.name().to_owned();
            let mut reading = read.map_err(|error| OfflineError::Source { name: name(), source: error })?;
            if !reading.failures.is_empty() {
                return Err(OfflineError::Source { name: name(), source: reading.failures.remove(0).error });
            }
            listings.append(&mut reading.listings);
        }
        let policy = Policy::new(&config);
        let read: Vec<&Listing> = listings.iter().collect();
        let merged = merge(&read, &policy, &Memory::default(), &RouteTable::new());
        let mut offline = Self::new(config, merged.set, merged.provenance, 0, 0);
        offline.look_for_findings(listings, &Memory::default(), Vec::new());
        Ok(offline)
    }

    /// What merge and rules find in `listings`; `saved` tells since when.
    fn look_for_findings(&mut self, read: Vec<Listing>, memory: &Memory, saved: Vec<Finding>) {
        let listings: Vec<&Listing> = read.iter().collect();
        let policy = Policy::new(&self.config);
        let mut fresh = merge(&listings, &policy, memory, &RouteTable::new()).findings;
        let facts = Facts { listings: &listings, set: &self.set, policy: &policy, incomplete: false };
        fresh.extend(examine(&facts.evidence()));
        let ignored = Ignored::new(&self.config.ignored_findings);
        fresh.retain(|finding| !ignored.covers(finding));
        self.findings = findings::since(fresh, saved);
        self.listings = read;
    }

    fn new(config: Config, set: RecordSet, provenance: Provenance, generation: u64, created: u64) -> Self {
        let options = answer_options(&config);
        let snapshot = Snapshot::build(&set, &options, generation);
        let (listings, findings) = (Vec::new(), Vec::new());
        Self { config, options, set, snapshot, provenance, created, listings, findings }
    }

    /// What is wrong, the worst first.
    pub fn findings(&self) -> Vec<FindingRow> {
        finding_rows(&self.findings)
    }

    /// Every RRset and every public alias.
    pub fn records(&self) -> Vec<RecordRow> {
        self.inspect().records()
    }

    /// Everything that would be served. Listen addresses are the configuration's:
    /// which addresses `0.0.0.0` stands for is known only where the daemon runs.
    pub fn inventory(&self) -> Inventory {
        let named: Vec<SocketAddr> = self.config.server.listen.clone();
        let named: Vec<_> = named.into_iter().filter(|address| !address.ip().is_unspecified()).collect();
        self.inspect().inventory(&named, self.created)
    }

    /// What would be answered to `client`, and why.
    ///
    /// # Errors
    /// The text says what is wrong with the name, the type or the address.
    pub fn explain(
        &self,
        name: &str,
        rtype: Option<&str>,
        client: Option<&str>,
    ) -> Result<Explanation, String> {
        self.inspect().explain(name, rtype, client)
    }

    /// What `hubdns doctor` must know of `name`, or of every registry that is ours.
    ///
    /// # Errors
    /// The text says what is wrong with the name.
    pub fn paths(&self, name: Option<&str>) -> Result<Paths, String> {
        let inspection = self.inspect();
        let (findings, listings) = (&self.findings, &self.listings);
        plan::plan(&Known { inspection: &inspection, findings, listings, listen: &[] }, name)
    }

    fn inspect(&self) -> Inspection<'_> {
        Inspection {
            config: &self.config,
            set: &self.set,
            options: &self.options,
            snapshot: &self.snapshot,
            provenance: &self.provenance,
            resolver: None,
        }
    }
}
