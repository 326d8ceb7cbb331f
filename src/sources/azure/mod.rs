//! Azure, live: reads the estate through Azure Resource Manager.
//!
//! ```text
//! cloud ─▶ http ─▶ identity ─▶ arm (budget, paging, errors) ─▶ read (listings of facts)
//! ```

pub mod arm;
pub mod cloud;
pub mod http;
pub mod identity;

use std::path::PathBuf;

use crate::config::AzureSource;

use super::facts::SourceKind;
use super::{ReadRecords, Reading, SourceError};

/// The live source.
#[derive(Debug)]
pub struct Azure {
    config: AzureSource,
}

impl Azure {
    /// Opens nothing yet: reading does.
    pub fn new(config: AzureSource) -> Self {
        Self { config }
    }
}

impl ReadRecords for Azure {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Azure
    }

    fn read(&self) -> Result<Reading, SourceError> {
        Ok(Reading { is_pending: true, ..Reading::default() })
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
