//! Network interfaces of private endpoints, and the endpoints.

use super::fields::{Fields, Odd, ResourceId, address, name, vnet_of_subnet};
use super::registry::{REGISTRY, state};
use crate::sources::facts::{ConnectionState, EndpointFact, Fact, InterfaceFact, What};
use crate::sources::registry_name::region_label;

/// One fact of each address of a private endpoint's interface. Interfaces of
/// machines, and of endpoints of other services, yield nothing.
pub(super) fn interfaces(fields: &Fields<'_>, origin: &str) -> Result<Vec<Fact>, Odd> {
    let endpoint_id = fields.reference("privateendpoint")?;
    let region = region_label(fields.text_or_empty("location")?);
    let mut facts = Vec::new();
    for config in fields.objects("ipconfigurations")? {
        // Only interfaces of private endpoints have it.
        let Some(link) = config.object("privatelinkconnectionproperties")? else { continue };
        let group_id = link.text_or_empty("groupid")?;
        if !group_id.is_empty() && !group_id.eq_ignore_ascii_case("registry") {
            continue;
        }
        let Some(address) = config.address("privateipaddress")? else { continue };
        let subnet = config.reference("subnet")?;
        let fact = InterfaceFact {
            address,
            group_id: group_id.to_owned(),
            member: link.text_or_empty("requiredmembername")?.to_owned(),
            fqdns: link.names("fqdns")?,
            endpoint_id: endpoint_id.clone(),
            vnet_id: subnet.as_deref().and_then(vnet_of_subnet),
            subnet_id: subnet.clone(),
            region: region.clone(),
        };
        let origin = match (config.id(), config.text("name")?) {
            (Some(id), _) => id.text,
            (None, Some(name)) => format!("{origin}/ipConfigurations/{name}"),
            (None, None) => origin.to_owned(),
        };
        facts.push(Fact { origin, what: What::Interface(fact) });
    }
    Ok(facts)
}

/// A private endpoint, one fact of each connection to a registry.
pub(super) fn endpoint(fields: &Fields<'_>, id: Option<&ResourceId>, origin: &str) -> Result<Vec<Fact>, Odd> {
    let Some(id) = id else { return Ok(Vec::new()) };
    let mut connections = fields.objects("privatelinkserviceconnections")?;
    connections.extend(fields.objects("manualprivatelinkserviceconnections")?);
    let interfaces = fields.objects("networkinterfaces")?;
    let mut facts = Vec::new();
    for connection in connections {
        let service = connection.text_or_empty("privatelinkserviceid")?;
        let Some(service) = ResourceId::parse(service).filter(|service| service.kind == REGISTRY) else {
            continue;
        };
        let subnet = fields.reference("subnet")?;
        let fact = EndpointFact {
            endpoint_id: id.lower.clone(),
            registry_id: service.lower,
            state: state(&connection)?,
            interface_ids: interfaces
                .iter()
                .filter_map(|interface| Some(interface.text("id").ok()??.to_ascii_lowercase()))
                .collect(),
            custom_dns: custom_dns(fields)?,
            vnet_id: subnet.as_deref().and_then(vnet_of_subnet),
            region: region_label(fields.text_or_empty("location")?),
        };
        facts.push(Fact { origin: origin.to_owned(), what: What::Endpoint(fact) });
    }
    // An endpoint has one connection in practice; if several lead to
    // registries, an Approved one tells that traffic flows.
    facts
        .sort_by_key(|fact| !matches!(&fact.what, What::Endpoint(e) if e.state == ConnectionState::Approved));
    Ok(facts)
}

fn custom_dns(fields: &Fields<'_>) -> Result<Vec<(crate::wire::Name, Vec<std::net::IpAddr>)>, Odd> {
    let mut out = Vec::new();
    for config in fields.objects("customdnsconfigs")? {
        let Some(fqdn) = config.text("fqdn")?.filter(|text| !text.is_empty()) else { continue };
        let texts = config.list("ipaddresses")?.iter().filter_map(serde_json::Value::as_str);
        let addresses = texts.map(|text| address("ipAddresses", text)).collect::<Result<_, _>>()?;
        out.push((name("fqdn", fqdn)?, addresses));
    }
    Ok(out)
}
