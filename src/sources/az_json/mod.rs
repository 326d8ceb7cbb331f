//! Saved output of the az command line: a file, or a directory of `*.json`.
//!
//! The whole file or directory is one listing, because only the whole is
//! complete: an interface without its endpoint, or page one without page two,
//! says less than nothing. One file that cannot be understood fails the
//! listing, and the last good one stays in force. Replace a directory by
//! renaming a finished one over it if its files must change together.
//!
//! Resources are told apart by `type` and resource id, never by file name.
//! Bodies may be nested (`properties`) or flattened as the command line prints
//! them, and keys are compared without case: versions of the command line
//! disagree (`privateIPAddress`, `privateIpAddress`, `aRecords`, `arecords`).
//! What is not about registries, private zones or subnets is passed over in
//! silence.

mod input;
mod pages;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::facts::{Fact, Listing, ListingId, SourceKind};
use super::resource::{self, Fields};
use super::{ReadRecords, Reading, SourceError, unix_now};
use input::{Document, Input};

/// Saved az output.
#[derive(Debug)]
pub struct AzJson {
    name: String,
    input: Input,
}

impl AzJson {
    /// The source `name` of the file or directory at `path`.
    pub fn new(name: &str, path: PathBuf) -> Self {
        Self { name: format!("az-json:{name}"), input: Input::Path(path) }
    }

    /// A source of texts that are at hand, each with a name for messages.
    pub fn from_texts(name: &str, texts: Vec<(String, String)>) -> Self {
        Self { name: format!("az-json:{name}"), input: Input::Texts(texts) }
    }

    /// The estate of `examples/contoso`, built into the binary for the quick start.
    pub fn embedded_example(name: &str) -> Self {
        Self::from_texts(name, example_texts())
    }
}

impl ReadRecords for AzJson {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::AzJson
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let read_at = unix_now();
        let facts = facts_of(self.input.documents()?)?;
        let id = ListingId { source: self.name.clone(), scope: self.input.scope() };
        Ok(Reading::whole(vec![Listing { id, kind: SourceKind::AzJson, read_at, facts }]))
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        match &self.input {
            Input::Path(path) => vec![path.clone()],
            Input::Texts(_) => Vec::new(),
        }
    }
}

/// All facts of a set of documents, oldest first: of a resource that occurs
/// twice the last one counts.
fn facts_of(documents: Vec<Document>) -> Result<Vec<Fact>, SourceError> {
    let mut resources: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
    let mut chains = pages::Chains::default();
    for document in documents {
        let page = pages::unwrap(document.value, &document.path)?;
        chains.add(&document.path, &page);
        for (index, item) in page.items.iter().enumerate() {
            let place = format!("{}#{index}", document.path.display());
            let resource = resource::read(item, &place).map_err(|odd| SourceError::Shape {
                path: document.path.clone(),
                resource: Fields::of(item)
                    .and_then(|fields| fields.id())
                    .map_or_else(|| place.clone(), |id| id.text),
                message: odd.to_string(),
            })?;
            let key = resource.id.map_or(place, |id| id.lower);
            resources.insert(format!("{} {key}", resource.kind), resource.facts);
        }
    }
    chains.check()?;
    Ok(resources.into_values().flatten().collect())
}

fn example_texts() -> Vec<(String, String)> {
    macro_rules! example {
        ($($file:literal),+ $(,)?) => {
            vec![$((
                concat!("examples/contoso/", $file).to_owned(),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/contoso/", $file)).to_owned(),
            )),+]
        };
    }
    example![
        "acr-list.json",
        "acr-replication-list-contosoprod.json",
        "network-nic-list.json",
        "network-private-dns-link-vnet-list.json",
        "network-private-dns-link-vnet-list-westeurope.json",
        "network-private-dns-record-set-list.json",
        "network-private-dns-record-set-list-blob.json",
        "network-private-dns-record-set-list-westeurope.json",
        "network-private-dns-zone-list.json",
        "network-private-endpoint-list.json",
    ]
}

/// Facts of one body, for tests of recorded traffic.
#[doc(hidden)]
pub fn facts_of_body(name: &str, body: &Value) -> Result<Vec<Fact>, SourceError> {
    facts_of(vec![Document { path: Path::new(name).to_owned(), value: body.clone() }])
}

#[cfg(test)]
mod tests;
