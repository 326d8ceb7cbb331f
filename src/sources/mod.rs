//! Where records come from. Each source yields complete listings of facts, or
//! an error; it decides nothing.
//!
//! A listing is complete or it does not exist: a source that cannot read part
//! of what it was told to read fails, and the last good listing stays in force.

pub mod az_json;
pub mod error;
pub mod facts;
pub mod registry_name;
pub mod static_records;
pub mod zone_file;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use error::SourceError;

use crate::config::{Config, Source};
use crate::wire::Name;
use az_json::AzJson;
use facts::{Listing, SourceKind};
use static_records::StaticRecords;
use zone_file::ZoneFile;

/// A source of records.
pub trait ReadRecords: Send {
    /// The source's name in logs and metrics; unique in a configuration.
    fn name(&self) -> &str;

    /// What kind of source this is.
    fn kind(&self) -> SourceKind;

    /// Reads everything. Either all listings are complete, or it is an error.
    fn read(&self) -> Result<Vec<Listing>, SourceError>;

    /// Files and directories whose change calls for reading again; includes
    /// those that the last read came upon.
    fn watched_paths(&self) -> Vec<PathBuf>;
}

/// Makes the sources that `config` names, in its order.
pub fn open(config: &Config) -> Vec<Box<dyn ReadRecords>> {
    config.sources.iter().map(|source| open_one(source, config)).collect()
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
