//! What happens in a real estate, as edits: endpoints come, go and are
//! approved, replicas are added, records drift.

use serde_json::{Value, json};

use super::estate::{Estate, HUB, WORKLOAD};

/// Where an interface's configuration has its names.
const LINK: &str = "privateLinkConnectionProperties";

/// Resource id of a zone of the estate.
pub fn zone(name: &str) -> String {
    format!("/subscriptions/{HUB}/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones/{name}")
}

/// Resource id of a registry of the estate.
pub fn registry(name: &str) -> String {
    format!(
        "/subscriptions/{WORKLOAD}/resourceGroups/rg-acr/providers/Microsoft.ContainerRegistry/registries/{name}"
    )
}

/// Resource id of a private endpoint of the estate.
pub fn endpoint(name: &str) -> String {
    format!(
        "/subscriptions/{WORKLOAD}/resourceGroups/rg-pe/providers/Microsoft.Network/privateEndpoints/{name}"
    )
}

impl Estate {
    /// Ids of an endpoint's interfaces.
    pub fn interfaces_of(&self, endpoint: &str) -> Vec<String> {
        let list = self.item(endpoint)["properties"]["networkInterfaces"].as_array().cloned();
        list.unwrap_or_default().iter().filter_map(|nic| Some(nic["id"].as_str()?.to_owned())).collect()
    }

    /// Id of the registry that an endpoint is for.
    pub fn registry_of(&self, endpoint: &str) -> String {
        let properties = &self.item(endpoint)["properties"];
        let all = ["privateLinkServiceConnections", "manualPrivateLinkServiceConnections"];
        let mut connections = all.iter().filter_map(|key| properties[*key].as_array()).flatten();
        let id = connections.find_map(|one| one["properties"]["privateLinkServiceId"].as_str());
        id.expect("a connection").to_owned()
    }

    /// Ids of the endpoints whose connections a registry shows.
    pub fn endpoints_of(&self, registry: &str) -> Vec<String> {
        let list = self.item(registry)["properties"]["privateEndpointConnections"].as_array().cloned();
        let id = |one: &Value| Some(one["properties"]["privateEndpoint"]["id"].as_str()?.to_owned());
        list.unwrap_or_default().iter().filter_map(id).collect()
    }

    /// Deletes a private endpoint with its interfaces and its connection; the
    /// zone's records stay, as they do without a zone group.
    pub fn remove_endpoint(&mut self, endpoint: &str) {
        let registry = self.registry_of(endpoint);
        for interface in self.interfaces_of(endpoint) {
            self.remove(&interface);
        }
        self.remove(endpoint);
        let endpoint = endpoint.to_owned();
        self.update(&registry, move |registry| {
            if let Some(list) = registry["properties"]["privateEndpointConnections"].as_array_mut() {
                list.retain(|one| !is(&one["properties"]["privateEndpoint"]["id"], &endpoint));
            }
        });
    }

    /// Sets the state of an endpoint's connection on both sides.
    pub fn set_connection(&mut self, endpoint: &str, status: &str) {
        let registry = self.registry_of(endpoint);
        let state = json!({"status": status, "description": "edited", "actionsRequired": "None"});
        self.update(endpoint, |endpoint| {
            for key in ["privateLinkServiceConnections", "manualPrivateLinkServiceConnections"] {
                for one in endpoint["properties"][key].as_array_mut().into_iter().flatten() {
                    one["properties"]["privateLinkServiceConnectionState"] = state.clone();
                }
            }
        });
        let endpoint = endpoint.to_owned();
        self.update(&registry, |registry| {
            for one in
                registry["properties"]["privateEndpointConnections"].as_array_mut().into_iter().flatten()
            {
                if is(&one["properties"]["privateEndpoint"]["id"], &endpoint) {
                    one["properties"]["privateLinkServiceConnectionState"] = state.clone();
                }
            }
        });
    }

    /// Approves a connection: the interface gets a name for each member.
    pub fn approve(&mut self, endpoint: &str) {
        self.set_connection(endpoint, "Approved");
        let names = self.members(&self.registry_of(endpoint));
        let known = std::mem::take(&mut self.names);
        let mut custom = Vec::new();
        for interface in self.interfaces_of(endpoint) {
            self.update(&interface, |interface| {
                for one in configurations(interface) {
                    if let Some(names) = one["id"].as_str().and_then(|id| known.get(&id.to_ascii_lowercase()))
                    {
                        one["properties"][LINK] = names.clone();
                    }
                }
                name_members(interface, &names);
            });
            let list = &self.item(&interface)["properties"]["ipConfigurations"];
            custom.extend(list.as_array().into_iter().flatten().map(|one| {
                let properties = &one["properties"];
                json!({"fqdn": properties[LINK]["fqdns"][0], "ipAddresses": [properties["privateIPAddress"]]})
            }));
        }
        self.names = known;
        // With a zone group Azure keeps this empty.
        let group = format!("{endpoint}/privateDnsZoneGroups/").to_ascii_lowercase();
        let has_group =
            |item: &Value| item["id"].as_str().is_some_and(|id| id.to_ascii_lowercase().starts_with(&group));
        let custom = if self.items().any(has_group) { Vec::new() } else { custom };
        self.update(endpoint, |endpoint| endpoint["properties"]["customDnsConfigs"] = json!(custom));
    }

    /// What adding a replica does for a while: the connection is Pending again
    /// and the interface has no names.
    pub fn pend(&mut self, endpoint: &str) {
        self.set_connection(endpoint, "Pending");
        self.update(endpoint, |endpoint| endpoint["properties"]["customDnsConfigs"] = json!([]));
        for interface in self.interfaces_of(endpoint) {
            // The addresses keep their members: Azure gives them back the same names.
            for one in self.item(&interface)["properties"]["ipConfigurations"]
                .as_array()
                .cloned()
                .into_iter()
                .flatten()
            {
                let id = one["id"].as_str().expect("an id").to_ascii_lowercase();
                self.names.insert(id, one["properties"][LINK].clone());
            }
            self.update(&interface, |interface| {
                for one in configurations(interface) {
                    one["properties"][LINK] = json!({"groupId": "", "requiredMemberName": "", "fqdns": []});
                }
            });
        }
    }

    /// Member names of a registry with their public names: replicas, then the registry.
    fn members(&self, registry: &str) -> Vec<(String, String)> {
        let properties = &self.item(registry)["properties"];
        let hosts = properties["dataEndpointHostNames"].as_array().cloned().unwrap_or_default();
        let data = hosts.iter().filter_map(|host| {
            let host = host.as_str()?;
            Some((format!("registry_data_{}", host.split('.').nth(1)?), host.to_owned()))
        });
        let login = properties["loginServer"].as_str().expect("a login server").to_owned();
        data.chain([("registry".to_owned(), login)]).collect()
    }

    /// Begins to add a replica: it is Creating, and the connections of the
    /// registry's endpoints are Pending without names.
    pub fn begin_replica(&mut self, registry: &str, region: &str) {
        let item = json!({
            "type": "Microsoft.ContainerRegistry/registries/replications",
            "id": format!("{registry}/replications/{region}"), "name": region, "location": region, "tags": {},
            "properties": {
                "provisioningState": "Creating", "regionEndpointEnabled": true, "zoneRedundancy": "Disabled",
            },
        });
        self.add(&format!("{registry}/replications"), item);
        for endpoint in self.endpoints_of(registry) {
            self.pend(&endpoint);
        }
    }

    /// Ends it: the replica is ready, its data endpoint has `address` at every
    /// endpoint's interface, connections are Approved.
    pub fn finish_replica(&mut self, registry: &str, region: &str, address: &str) {
        self.update(&format!("{registry}/replications/{region}"), |replica| {
            replica["properties"]["provisioningState"] = json!("Succeeded");
        });
        self.update(registry, |registry| {
            let properties = &mut registry["properties"];
            let label = properties["loginServer"].as_str().expect("a login server");
            let (label, suffix) = label.split_once('.').expect("a suffix");
            let host = json!(format!("{label}.{region}.data.{suffix}"));
            properties["dataEndpointHostNames"].as_array_mut().expect("a list").push(host);
        });
        for endpoint in self.endpoints_of(registry) {
            for interface in self.interfaces_of(&endpoint) {
                self.update(&interface, |interface| add_configuration(interface, address));
            }
            self.approve(&endpoint);
        }
    }

    /// Adds a replica at once.
    pub fn add_replica(&mut self, registry: &str, region: &str, address: &str) {
        self.begin_replica(registry, region);
        self.finish_replica(registry, region, address);
    }

    /// Removes all records of a name and type from a zone.
    pub fn remove_record(&mut self, zone: &str, rtype: &str, name: &str) {
        self.remove(&format!("{zone}/{rtype}/{name}"));
    }

    /// Makes or changes an A record set.
    pub fn set_record(&mut self, zone: &str, name: &str, addresses: &[&str], ttl: u32) {
        let id = format!("{zone}/A/{name}");
        let records: Vec<Value> = addresses.iter().map(|address| json!({"ipv4Address": address})).collect();
        let is_there = self.items().any(|item| is(&item["id"], &id));
        if !is_there {
            let apex = zone.rsplit('/').next().expect("a name");
            let item = json!({
                "id": id, "name": name, "type": "Microsoft.Network/privateDnsZones/A", "etag": "made",
                "properties": {"fqdn": format!("{name}.{apex}."), "isAutoRegistered": false},
            });
            self.add(&format!("{zone}/ALL"), item);
        }
        self.update(&id, |item| {
            item["properties"]["ttl"] = json!(ttl);
            item["properties"]["aRecords"] = json!(records);
        });
    }
}

fn configurations(interface: &mut Value) -> impl Iterator<Item = &mut Value> {
    interface["properties"]["ipConfigurations"].as_array_mut().into_iter().flatten()
}

fn is(value: &Value, id: &str) -> bool {
    value.as_str().is_some_and(|known| known.eq_ignore_ascii_case(id))
}

/// The last number of an IPv4 address raised by `by`.
fn raised(address: &str, by: usize) -> String {
    let address: std::net::Ipv4Addr = address.parse().expect("an IPv4 address");
    std::net::Ipv4Addr::from_bits(address.to_bits() + u32::try_from(by).expect("few")).to_string()
}

fn add_configuration(interface: &mut Value, address: &str) {
    let list = interface["properties"]["ipConfigurations"].as_array_mut().expect("a list");
    let mut one = list.first().expect("a configuration").clone();
    one["name"] = json!(format!("privateEndpointIpConfig.{address}"));
    let id = one["id"].as_str().and_then(|id| id.rsplit_once('/')).map(|(parent, _)| parent.to_owned());
    one["id"] = json!(format!("{}/privateEndpointIpConfig.{address}", id.expect("an id")));
    one["properties"]["privateIPAddress"] = json!(address);
    one["properties"]["primary"] = json!(false);
    one["properties"][LINK] = json!({"groupId": "", "requiredMemberName": "", "fqdns": []});
    list.push(one);
}

/// Gives each member a configuration: first those that have its name, then
/// those without any, then new ones behind the last address.
fn name_members(interface: &mut Value, members: &[(String, String)]) {
    for (index, (member, fqdn)) in members.iter().enumerate() {
        let list = interface["properties"]["ipConfigurations"].as_array().expect("a list").clone();
        let has =
            |name: &str| list.iter().rposition(|one| one["properties"][LINK]["requiredMemberName"] == name);
        let at = has(member)
            .or_else(|| list.iter().position(|one| one["properties"][LINK]["requiredMemberName"] == ""));
        let at = at.unwrap_or_else(|| {
            let at = list.len();
            let first = list[0]["properties"]["privateIPAddress"].as_str().expect("an address");
            let address = raised(first, index);
            add_configuration(interface, &address);
            at
        });
        interface["properties"]["ipConfigurations"][at]["properties"][LINK] =
            json!({"groupId": "registry", "requiredMemberName": member, "fqdns": [fqdn]});
    }
}
