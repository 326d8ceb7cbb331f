//! The estate: lists as pages, resources, and the edits that keep them
//! consistent. Ids are compared without regard to case, as Azure does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The subscription of the hub: zones and the hub's network.
pub const HUB: &str = "11111111-1111-1111-1111-111111111111";
/// The subscription of the workload: registries, endpoints, interfaces.
pub const WORKLOAD: &str = "22222222-2222-2222-2222-222222222222";

/// What the links in the data start with; replaced when served.
pub const PUBLIC_HOST: &str = "https://management.azure.com";

/// An answer to a GET.
#[derive(Clone, Debug)]
pub struct Route {
    /// As in the data; compared in lower case.
    pub path: String,
    /// Pairs, decoded, sorted; keys in lower case.
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

/// All that Azure knows.
#[derive(Clone, Debug)]
pub struct Estate {
    routes: Vec<Route>,
    /// Most rows on a page of Resource Graph.
    pub graph_page: usize,
    /// Management groups with the subscriptions below them.
    pub groups: Vec<(String, Vec<String>)>,
    /// What the identity may do, by scope: the body of `permissions`.
    pub permissions: Value,
    /// Names of interfaces whose connection is Pending again, by configuration.
    pub names: BTreeMap<String, Value>,
    edits: u64,
}

/// The pairs of a query, decoded, sorted, keys in lower case.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<_> =
        pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.into_owned())).collect();
    pairs.sort();
    pairs
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/').eq_ignore_ascii_case(b.trim_end_matches('/'))
}

impl Estate {
    /// No subscription, no resource.
    pub fn empty() -> Self {
        Self {
            routes: Vec::new(),
            graph_page: 1000,
            groups: Vec::new(),
            permissions: json!({"value": [
                {"actions": ["*/read"], "notActions": [], "dataActions": [], "notDataActions": []},
            ]}),
            names: BTreeMap::new(),
            edits: 0,
        }
    }

    /// The routes of `contoso-hub.json`, with the virtual networks that they
    /// speak of and a management group over both subscriptions.
    pub fn contoso() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/composed/contoso-hub.json");
        let text = std::fs::read_to_string(path).expect("the composed estate");
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let mut estate = Self::empty();
        estate.graph_page = 3;
        for route in data["routes"].as_array().expect("routes").iter().filter(|r| r["method"] == "GET") {
            let (path, query) = split(route["target"].as_str().expect("a target"));
            let headers = route["response"]["headers"].as_object().expect("headers").iter();
            estate.routes.push(Route {
                path,
                query,
                headers: headers.map(|(k, v)| (k.clone(), v.as_str().expect("text").to_owned())).collect(),
                body: route["response"]["body"].clone(),
            });
        }
        estate.groups = vec![("contoso".to_owned(), vec![HUB.to_owned(), WORKLOAD.to_owned()])];
        let networks = "providers/Microsoft.Network/virtualNetworks";
        let hub = [network(HUB, "vnet-hub", "10.10.0.0/16", &[])];
        let spokes = [
            network(
                WORKLOAD,
                "vnet-spoke1",
                "10.20.0.0/16",
                &[("snet-pe", "10.20.0.0/24"), ("snet-app", "10.20.1.0/24")],
            ),
            network(WORKLOAD, "vnet-spoke2", "10.21.0.0/16", &[("snet-pe", "10.21.0.0/24")]),
        ];
        estate.add_list(&format!("/subscriptions/{HUB}/{networks}"), "2024-05-01", &hub, 100);
        estate.add_list(&format!("/subscriptions/{WORKLOAD}/{networks}"), "2024-05-01", &spokes, 100);
        estate
    }

    /// The answer to a GET: a page of a list, a resource, or an item of a list.
    pub fn find(&self, path: &str, query: &str) -> Found<'_> {
        let query = pairs(query);
        let at_path: Vec<&Route> = self.routes.iter().filter(|route| same(&route.path, path)).collect();
        if let Some(route) = at_path.iter().find(|route| route.query == query) {
            return Found::Page(route);
        }
        if !at_path.is_empty() {
            return Found::WrongQuery;
        }
        self.items()
            .find(|item| item["id"].as_str().is_some_and(|id| same(id, path)))
            .map_or(Found::Nothing, Found::Item)
    }

    /// The items of all lists.
    pub fn items(&self) -> impl Iterator<Item = &Value> {
        self.routes.iter().filter_map(|route| route.body["value"].as_array()).flatten()
    }

    /// The resource with this id; it must be there.
    pub fn item(&self, id: &str) -> &Value {
        let found = self.items().find(|item| item["id"].as_str().is_some_and(|known| same(known, id)));
        found.unwrap_or_else(|| panic!("no resource {id}"))
    }

    /// Adds a list of `items` in pages of `size`, with the links of Azure.
    pub fn add_list(&mut self, path: &str, version: &str, items: &[Value], size: usize) {
        let pages: Vec<&[Value]> = if items.is_empty() { vec![&[]] } else { items.chunks(size).collect() };
        let query = |page: usize| match page {
            0 => format!("api-version={version}"),
            _ => format!("api-version={version}&$skipToken=page{page}"),
        };
        for (page, items) in pages.iter().enumerate() {
            let mut body = json!({"value": items});
            if page + 1 < pages.len() {
                body["nextLink"] = json!(format!("{PUBLIC_HOST}:443{path}?{}", query(page + 1)));
            }
            let query = pairs(&query(page));
            self.routes.push(Route { path: path.to_owned(), query, headers: Vec::new(), body });
        }
    }

    /// Removes a list, all its pages: it is answered with 404.
    pub fn remove_list(&mut self, path: &str) {
        self.routes.retain(|route| !same(&route.path, path));
    }

    /// Puts a header on every page of a list.
    pub fn set_header(&mut self, path: &str, name: &str, value: &str) {
        for route in self.routes.iter_mut().filter(|route| same(&route.path, path)) {
            route.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            route.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Adds `item` to the last page of the list at `path`; the list must be there.
    pub fn add(&mut self, path: &str, item: Value) {
        let mut pages = self.routes.iter_mut().filter(|route| same(&route.path, path));
        let page = pages.rfind(|page| page.body.get("nextLink").is_none());
        let page = page.unwrap_or_else(|| panic!("no list {path}"));
        page.body["value"].as_array_mut().expect("a list").push(item);
    }

    /// Removes a resource and all below it from every list and as resource.
    pub fn remove(&mut self, id: &str) {
        let below = format!("{}/", id.to_ascii_lowercase());
        let is_it = |known: &str| same(known, id) || known.to_ascii_lowercase().starts_with(&below);
        self.routes.retain(|route| !is_it(&route.path));
        for list in self.routes.iter_mut().filter_map(|route| route.body["value"].as_array_mut()) {
            list.retain(|item| !item["id"].as_str().is_some_and(is_it));
        }
    }

    /// Changes a resource wherever it is shown, and its etag; it must be there.
    pub fn update(&mut self, id: &str, change: impl Fn(&mut Value)) {
        self.edits += 1;
        let etag = json!(format!("W/\"edit-{}\"", self.edits));
        let mut found = false;
        let mut apply = |item: &mut Value| {
            if item["id"].as_str().is_some_and(|known| same(known, id)) {
                change(item);
                if item.get("etag").is_some() {
                    item["etag"] = etag.clone();
                }
                found = true;
            }
        };
        for route in &mut self.routes {
            match route.body["value"].as_array_mut() {
                Some(list) => list.iter_mut().for_each(&mut apply),
                None => apply(&mut route.body),
            }
        }
        assert!(found, "no resource {id}");
    }

    /// Puts `item` in the place of the resource with its id.
    pub fn replace(&mut self, item: &Value) {
        let id = item["id"].as_str().expect("an id").to_owned();
        self.update(&id, |old| *old = item.clone());
    }
}

/// What is at a path.
pub enum Found<'a> {
    /// A page of a list, or a resource.
    Page(&'a Route),
    /// An item of a list, asked for alone.
    Item(&'a Value),
    /// The path exists, with another api-version or token.
    WrongQuery,
    Nothing,
}

fn split(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path.to_owned(), pairs(query))
}

/// A virtual network in the resource group `rg-net`.
pub fn network(subscription: &str, name: &str, prefix: &str, subnets: &[(&str, &str)]) -> Value {
    let id = format!(
        "/subscriptions/{subscription}/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/{name}"
    );
    let subnets: Vec<Value> = subnets
        .iter()
        .map(|(subnet, prefix)| {
            json!({
                "name": subnet, "id": format!("{id}/subnets/{subnet}"), "etag": "W/\"1\"",
                "type": "Microsoft.Network/virtualNetworks/subnets",
                "properties": {"provisioningState": "Succeeded", "addressPrefix": prefix},
            })
        })
        .collect();
    json!({
        "name": name, "id": id, "etag": "W/\"1\"", "type": "Microsoft.Network/virtualNetworks",
        "location": "westeurope",
        "properties": {
            "provisioningState": "Succeeded", "addressSpace": {"addressPrefixes": [prefix]}, "subnets": subnets,
        },
    })
}
