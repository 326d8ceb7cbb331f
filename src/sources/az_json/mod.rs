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
//! What is not about registries or private zones is passed over in silence.

mod fields;
mod input;
mod network;
mod pages;
mod recordset;
mod registry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::facts::{Fact, Listing, ListingId, SourceKind};
use super::{ReadRecords, Reading, SourceError, unix_now};
use fields::{Fields, Odd, ResourceId};
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
            let (key, facts) = resource(item, &place).map_err(|odd| SourceError::Shape {
                path: document.path.clone(),
                resource: Fields::of(item).and_then(|fields| fields.id()).map_or(place.clone(), |id| id.text),
                message: odd.to_string(),
            })?;
            resources.insert(key, facts);
        }
    }
    chains.check()?;
    Ok(resources.into_values().flatten().collect())
}

/// The facts in one resource, and a key that is equal for the same resource.
fn resource(item: &Value, place: &str) -> Result<(String, Vec<Fact>), Odd> {
    let Some(fields) = Fields::of(item) else { return Ok((place.to_owned(), Vec::new())) };
    let id = fields.id();
    let origin = id.as_ref().map_or_else(|| place.to_owned(), |id| id.text.clone());
    let kind = kind(&fields, id.as_ref());
    let facts = match kind.as_str() {
        "microsoft.network/privatednszones" => recordset::zone(&fields, id.as_ref(), &origin)?,
        "microsoft.network/privatednszones/virtualnetworklinks" => {
            recordset::link(&fields, id.as_ref(), &origin)?
        }
        "microsoft.network/networkinterfaces" => network::interfaces(&fields, &origin)?,
        "microsoft.network/privateendpoints" => network::endpoint(&fields, id.as_ref(), &origin)?,
        "microsoft.containerregistry/registries" => registry::registry(&fields, id.as_ref(), &origin)?,
        "microsoft.containerregistry/registries/replications" => {
            registry::replica(&fields, id.as_ref(), &origin)?
        }
        "microsoft.containerregistry/registries/privateendpointconnections" => {
            registry::connection(&fields, id.as_ref(), &origin)?
        }
        other => match other.strip_prefix("microsoft.network/privatednszones/") {
            Some(rtype) => recordset::record_set(&fields, id.as_ref(), rtype, &origin)?,
            None => Vec::new(),
        },
    };
    let key = id.map_or_else(|| place.to_owned(), |id| id.lower);
    Ok((format!("{kind} {key}"), facts))
}

/// The lower-case resource type, from `type`, else from the id, else from what
/// only interfaces have (`--query` drops both).
fn kind(fields: &Fields<'_>, id: Option<&ResourceId>) -> String {
    match (fields.text("type"), id) {
        (Ok(Some(kind)), _) if kind.contains('/') => kind.to_ascii_lowercase(),
        (_, Some(id)) => id.kind.clone(),
        _ if fields.get("ipconfigurations").is_some() => "microsoft.network/networkinterfaces".to_owned(),
        _ => String::new(),
    }
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
