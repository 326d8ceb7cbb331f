//! One Azure resource, as JSON, to facts: for saved output of the az command
//! line and for live answers of Resource Manager alike.
//!
//! Resources are told apart by `type` and resource id. Bodies may be nested
//! (`properties`) or flattened, and keys are compared without case. What is
//! not about registries, private zones or subnets yields no facts.

mod fields;
mod network;
mod recordset;
mod registry;

use serde_json::Value;

use super::facts::Fact;
pub(in crate::sources) use fields::{Fields, Odd, ResourceId};

/// What one resource says.
#[derive(Debug, Default)]
pub(in crate::sources) struct Resource {
    /// The lower-case resource type; empty if unknown.
    pub(in crate::sources) kind: String,
    /// The resource id, if there is one.
    pub(in crate::sources) id: Option<ResourceId>,
    /// Its facts.
    pub(in crate::sources) facts: Vec<Fact>,
}

/// Reads the resource `item`. `place` stands for the id of one that has none.
pub(in crate::sources) fn read(item: &Value, place: &str) -> Result<Resource, Odd> {
    let Some(fields) = Fields::of(item) else { return Ok(Resource::default()) };
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
        "microsoft.network/privateendpoints/privatednszonegroups" => {
            network::zone_group(&fields, id.as_ref(), &origin)?
        }
        "microsoft.network/virtualnetworks" => network::subnets(&fields, id.as_ref())?,
        "microsoft.network/virtualnetworks/subnets" => network::subnet(&fields, id.as_ref())?,
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
    Ok(Resource { kind, id, facts })
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
