//! Where records come from. Each source yields complete listings of facts, or
//! an error; it decides nothing.
//!
//! A listing is complete or it does not exist: a source that cannot read part
//! of what it was told to read fails, and the last good listing stays in force.

pub mod az_json;
pub mod azure;
pub mod error;
pub mod facts;
pub mod records;
pub mod registry_name;
mod resource;
pub mod static_records;
pub mod zone_file;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use azure::bootstrap::budgeted::{Budgets, Permit};
pub use error::SourceError;

use crate::config::{Config, Source};
use crate::metrics::azure::AzureMetrics;
use crate::wire::Name;
use az_json::AzJson;
use azure::Azure;
use facts::{Listing, SourceKind};
use static_records::StaticRecords;
use zone_file::ZoneFile;

/// What one reading of a source yields.
#[derive(Debug, Default)]
pub struct Reading {
    /// Complete listings; each takes the place of the last one with its id.
    pub listings: Vec<Listing>,
    /// Listings that could not be read; the last good ones stay in force.
    pub failures: Vec<Failure>,
    /// The scopes that exist, read or not: listings of others are dropped.
    /// `None` where that is not known for sure; then all stay.
    pub scopes: Option<BTreeSet<String>>,
    /// The first reading still runs: what is missing says nothing yet.
    pub is_pending: bool,
}

/// One listing that could not be read.
#[derive(Debug)]
pub struct Failure {
    /// The [`ListingId::scope`](facts::ListingId::scope).
    pub scope: String,
    /// Why.
    pub error: SourceError,
    /// The permission that the identity lacks, as roles name it
    /// (`Microsoft.Network/networkInterfaces/read`), if that is why.
    pub missing_permission: Option<String>,
}

impl Reading {
    /// All of a source that is complete or fails as a whole.
    pub fn whole(listings: Vec<Listing>) -> Self {
        let scopes = listings.iter().map(|listing| listing.id.scope.clone()).collect();
        Self { listings, scopes: Some(scopes), ..Self::default() }
    }
}

/// Called by a source that reads in the background when [`ReadRecords::read`] has news.
pub type Changed = Arc<dyn Fn() + Send + Sync>;

/// A source of records.
pub trait ReadRecords: Send {
    /// The source's name in logs and metrics; unique in a configuration.
    fn name(&self) -> &str;

    /// What kind of source this is.
    fn kind(&self) -> SourceKind;

    /// Reads everything and waits for it; once [`Self::start`] was called on a
    /// source that reads in the background, what that has found by now.
    ///
    /// # Errors
    /// Nothing could be read; parts that could not are in the reading.
    fn read(&self) -> Result<Reading, SourceError>;

    /// Begins to read in the background, if this source does that.
    fn start(&self, changed: Changed) {
        let _ = changed;
    }

    /// Tells the last complete listings, before [`Self::start`]: what they have
    /// is not gone because a first reading of the background lacks it.
    fn recall(&self, listings: &[Listing]) {
        let _ = listings;
    }

    /// Hands over what requests to Azure count, before [`Self::start`] and [`Self::read`].
    fn count_in(&self, metrics: &Arc<AzureMetrics>) {
        let _ = metrics;
    }

    /// Hands over what the servers may be sent that a source asks for addresses,
    /// before [`Self::start`].
    fn draw_on(&self, budgets: &Arc<dyn Budgets>) {
        let _ = budgets;
    }

    /// Asks a source that reads in the background to read everything now, and
    /// to call `done` when that has ended. Whether it will.
    fn refresh(&self, done: Changed) -> bool {
        let _ = done;
        false
    }

    /// Files and directories whose change calls for reading again; includes
    /// those that the last read came upon.
    fn watched_paths(&self) -> Vec<PathBuf>;

    /// Whether this source reads in the background and would do just the same
    /// if it were made from `source` of `config`: then it goes on across a reload.
    fn is_made_from(&self, source: &Source, config: &Config) -> bool {
        let _ = (source, config);
        false
    }
}

/// Makes the sources that `config` names, in its order.
pub fn open(config: &Config) -> Vec<Box<dyn ReadRecords>> {
    config.sources.iter().map(|source| open_one(source, config)).collect()
}

/// Makes the sources that `config` names, in its order; those of `old` that
/// would be made anew just as they are go on.
pub fn open_reusing(config: &Config, mut old: Vec<Box<dyn ReadRecords>>) -> Vec<Box<dyn ReadRecords>> {
    let reuse = |source: &Source| {
        let at = old.iter().position(|old| old.is_made_from(source, config));
        at.map_or_else(|| open_one(source, config), |at| old.swap_remove(at))
    };
    config.sources.iter().map(reuse).collect()
}

fn open_one(source: &Source, config: &Config) -> Box<dyn ReadRecords> {
    match source {
        Source::Static(records) => {
            Box::new(StaticRecords::new(records.clone(), config.names.suffixes.clone(), apexes(config)))
        }
        Source::ZoneFile { zone, path, fall_through } => {
            Box::new(ZoneFile::new(zone.clone(), path.clone(), *fall_through))
        }
        Source::AzJson { name, path } => Box::new(AzJson::new(name, path.clone())),
        Source::Azure(source) => Box::new(Azure::new(azure::Settings::new(source, config))),
        Source::Example { name } => Box::new(AzJson::embedded_example(name)),
    }
}

/// The zones that static records may lie in besides the private-link zones.
fn apexes(config: &Config) -> Vec<Name> {
    let files = config.sources.iter().filter_map(|source| match source {
        Source::ZoneFile { zone, .. } => Some(zone),
        _ => None,
    });
    config.names.zones.iter().chain(files).cloned().collect()
}

/// The wall clock in Unix seconds; 0 before 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
