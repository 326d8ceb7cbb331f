//! Network interfaces of private endpoints, the endpoints and their zone
//! groups, and the subnets that they lie in.

use std::net::IpAddr;

use serde_json::Value;

use super::fields::{Fields, Odd, ResourceId, address, name, vnet_of_subnet};
use super::registry::{REGISTRY, state};
use crate::sources::facts::{
    ConnectionState, EndpointFact, Fact, InterfaceFact, SubnetFact, What, ZoneGroupFact,
};
use crate::sources::registry_name::region_label;
use crate::wire::Name;

/// One fact of each address of a private endpoint's interface. Interfaces of
/// machines, and of endpoints of other services, yield nothing.
pub(in crate::sources) fn interfaces(fields: &Fields<'_>, origin: &str) -> Result<Vec<Fact>, Odd> {
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
pub(in crate::sources) fn endpoint(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
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

fn custom_dns(fields: &Fields<'_>) -> Result<Vec<(Name, Vec<IpAddr>)>, Odd> {
    let configs = fields.objects("customdnsconfigs")?;
    configs.iter().filter_map(|config| names_and_addresses(config).transpose()).collect()
}

/// `fqdn` and `ipAddresses`; `None` without a name.
fn names_and_addresses(fields: &Fields<'_>) -> Result<Option<(Name, Vec<IpAddr>)>, Odd> {
    let Some(fqdn) = fields.text("fqdn")?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let texts = fields.list("ipaddresses")?.iter().filter_map(Value::as_str);
    let addresses = texts.map(|text| address("ipAddresses", text)).collect::<Result<_, _>>()?;
    Ok(Some((name("fqdn", fqdn)?, addresses)))
}

/// A zone group of a private endpoint.
pub(in crate::sources) fn zone_group(
    fields: &Fields<'_>,
    id: Option<&ResourceId>,
    origin: &str,
) -> Result<Vec<Fact>, Odd> {
    let Some(endpoint_id) = id.and_then(|id| id.ancestor(1)) else { return Ok(Vec::new()) };
    let (mut zone_ids, mut records) = (Vec::new(), Vec::new());
    for config in fields.objects("privatednszoneconfigs")? {
        let zone = config.text_or_empty("privatednszoneid")?;
        if !zone.is_empty() {
            zone_ids.push(zone.to_ascii_lowercase());
        }
        for set in config.objects("recordsets")? {
            records.extend(names_and_addresses(&set)?);
        }
    }
    let fact = ZoneGroupFact { endpoint_id, zone_ids, records };
    Ok(vec![Fact { origin: origin.to_owned(), what: What::ZoneGroup(fact) }])
}

/// The subnets of a virtual network.
pub(in crate::sources) fn subnets(fields: &Fields<'_>, id: Option<&ResourceId>) -> Result<Vec<Fact>, Odd> {
    if id.is_none() {
        return Ok(Vec::new());
    }
    let mut facts = Vec::new();
    for inner in fields.objects("subnets")? {
        facts.extend(subnet(&inner, inner.id().as_ref())?);
    }
    Ok(facts)
}

/// A subnet. One without prefixes (they come from a pool that is still to be
/// asked) yields nothing.
pub(in crate::sources) fn subnet(fields: &Fields<'_>, id: Option<&ResourceId>) -> Result<Vec<Fact>, Odd> {
    let Some((id, vnet_id)) = id.and_then(|id| Some((id, id.ancestor(1)?))) else { return Ok(Vec::new()) };
    let one = fields.text("addressprefix")?.into_iter();
    let several = fields.list("addressprefixes")?.iter().filter_map(Value::as_str);
    let mut prefixes = Vec::new();
    for text in one.chain(several).filter(|text| !text.is_empty()) {
        let odd = |_| Odd::new("addressPrefix", format!("holds {text:?}, which is no prefix"));
        let prefix = text.parse().map_err(odd)?;
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    let fact = SubnetFact { subnet_id: id.lower.clone(), vnet_id, prefixes };
    Ok(vec![Fact { origin: id.text.clone(), what: What::Subnet(fact) }])
}
