//! Registries, their connections and their replicas.

use super::fields::{Fields, Odd, ResourceId};
use crate::sources::facts::{ConnectionState, EndpointFact, Fact, RegistryFact, ReplicaFact, What};
use crate::sources::registry_name::region_label;

/// The resource type of registries, lower case.
pub(in crate::sources) const REGISTRY: &str = "microsoft.containerregistry/registries";

/// A registry. One without a login server is being made, and yields nothing.
pub(in crate::sources) fn registry(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let (Some(id), Some(login_server)) = (id, fields.name("loginserver")?) else { return Ok(Vec::new()) };
    let mut connections = Vec::new();
    for connection in fields.objects("privateendpointconnections")? {
        if let Some(endpoint) = connection.reference("privateendpoint")? {
            connections.push((endpoint, state(&connection)?));
        }
    }
    let fact = RegistryFact {
        registry_id: id.lower.clone(),
        login_server,
        data_hosts: fields.names("dataendpointhostnames")?,
        regional_hosts: fields.names("regionalendpointhostnames")?,
        connections,
        region: region_label(fields.text_or_empty("location")?),
    };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::Registry(fact) }])
}

/// A connection listed by itself, from the registry's side.
pub(in crate::sources) fn connection(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let registry_id = id.and_then(|id| id.ancestor(1));
    let (Some(registry_id), Some(endpoint_id)) = (registry_id, fields.reference("privateendpoint")?) else {
        return Ok(Vec::new());
    };
    let fact = EndpointFact {
        endpoint_id,
        registry_id,
        state: state(fields)?,
        interface_ids: Vec::new(),
        custom_dns: Vec::new(),
        vnet_id: None,
        region: String::new(),
    };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::Endpoint(fact) }])
}

/// A geo-replica.
pub(in crate::sources) fn replica(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let Some(id) = id else { return Ok(Vec::new()) };
    let Some(registry_id) = id.ancestor(1) else { return Ok(Vec::new()) };
    let region = match fields.text("location")? {
        Some(location) => location,
        None => fields.text_or_empty("name")?,
    };
    let fact = ReplicaFact {
        registry_id,
        region: region_label(region),
        provisioning_state: fields.text_or_empty("provisioningstate")?.to_owned(),
    };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::Replica(fact) }])
}

/// `privateLinkServiceConnectionState.status`.
pub(in crate::sources) fn state(connection: &Fields<'_>) -> Result<ConnectionState, Odd> {
    let Some(state) = connection.object("privatelinkserviceconnectionstate")? else {
        return Ok(ConnectionState::Unknown);
    };
    Ok(match state.text_or_empty("status")?.to_ascii_lowercase().as_str() {
        "approved" => ConnectionState::Approved,
        "pending" => ConnectionState::Pending,
        "rejected" => ConnectionState::Rejected,
        "disconnected" => ConnectionState::Disconnected,
        _ => ConnectionState::Unknown,
    })
}
