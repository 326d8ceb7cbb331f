//! The scripted Azure of the tests: it plays the data, and its faults are what they say.

#[path = "common/azure/mod.rs"]
mod azure;

use azure::edits::{endpoint, registry, zone};
use azure::{Authorization, Azure, CLIENT, FIXED_TOKEN, Fault, HUB, Kind, Matcher, SECRET, TENANT, WORKLOAD};
use serde_json::{Value, json};

/// A client as anybody would write it.
struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Client {
    fn new(azure: &Azure) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = std::fs::read(azure.ca_file()).expect("a CA");
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).expect("PEM")])
            .build()
            .expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { http, runtime, url: azure.url() }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value), reqwest::Error> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let bytes = response.bytes().await?;
            Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        })
    }

    fn get(&self, target: &str) -> (u16, Value) {
        let target =
            if target.starts_with("https:") { target.to_owned() } else { format!("{}{target}", self.url) };
        self.send(self.http.get(target).bearer_auth(FIXED_TOKEN)).expect("an answer")
    }

    fn post(&self, target: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{target}", self.url)).bearer_auth(FIXED_TOKEN);
        self.send(request.body(body.to_string())).expect("an answer")
    }

    /// All pages.
    fn list(&self, target: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), Some(target.to_owned()));
        while let Some(target) = next {
            let (status, page) = self.get(&target);
            assert_eq!(status, 200, "{target}: {page}");
            items.extend(page["value"].as_array().expect("a list").iter().cloned());
            next = page["nextLink"].as_str().map(str::to_owned);
        }
        items
    }
}

const API_NETWORK: &str = "api-version=2024-05-01";
const API_DNS: &str = "api-version=2024-06-01";

fn data() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/composed/contoso-hub.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("data")).expect("JSON")
}

#[test]
fn every_route_of_the_data_is_played() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    for route in data()["routes"].as_array().expect("routes") {
        let target = route["target"].as_str().expect("a target");
        let (status, mut body) = match route.get("request_body") {
            Some(body) => client.post(target, body),
            None => client.get(&target.to_ascii_lowercase().replace("$skiptoken", "$skipToken")),
        };
        let token = target.contains("$skipToken");
        let (status, answer) = if token { client.get(target) } else { (status, body.take()) };
        let mut expected = route["response"]["body"].clone();
        if let Some(link) = expected["nextLink"].as_str() {
            let link = link.replace("https://management.azure.com:443", &azure.url());
            expected["nextLink"] = json!(link);
        }
        assert_eq!((status, &answer), (200, &expected), "{target}");
    }
}

#[test]
fn record_sets_and_resources_can_be_asked_for_alone() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    let zone = zone("privatelink.azurecr.io");
    let (status, record) = client.get(&format!("{zone}/A/contosodrift?{API_DNS}"));
    assert_eq!((status, &record["properties"]["aRecords"][0]["ipv4Address"]), (200, &json!("10.20.0.77")));
    let (status, found) = client.get(&format!("{}?api-version=2025-11-01", registry("contosoprod")));
    assert_eq!((status, &found["name"]), (200, &json!("contosoprod")));
    let (status, error) = client.get(&format!("{zone}/A/nothing?{API_DNS}"));
    assert_eq!((status, &error["error"]["code"]), (404, &json!("ResourceNotFound")));
    let (status, _) = client.get(&format!("{zone}/ALL?api-version=2018-09-01"));
    assert_eq!(status, 400);
    let (status, groups) = client
        .get("/providers/Microsoft.Management/managementGroups/contoso/descendants?api-version=2020-05-01");
    assert_eq!((status, groups["value"].as_array().expect("a list").len()), (200, 2));
}

#[test]
fn edits_show_in_lists_resources_and_resource_graph() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    let nics =
        format!("/subscriptions/{WORKLOAD}/providers/Microsoft.Network/networkInterfaces?{API_NETWORK}");
    let interface = |name: &str| {
        client.list(&nics).into_iter().find(|nic| nic["name"].as_str().is_some_and(|n| n.starts_with(name)))
    };
    let names = |nic: &Value| -> Vec<String> {
        let list = nic["properties"]["ipConfigurations"].as_array().expect("a list").iter();
        list.map(|one| {
            let fqdn = &one["properties"]["privateLinkConnectionProperties"]["fqdns"][0];
            format!(
                "{} {}",
                fqdn.as_str().unwrap_or("-"),
                one["properties"]["privateIPAddress"].as_str().expect("text")
            )
        })
        .collect()
    };
    let before = names(&interface("pe-contosoprod.").expect("there"));
    azure.edit(|estate| estate.begin_replica(&registry("contosoprod"), "northeurope"));
    let pending = names(&interface("pe-contosoprod.").expect("there"));
    assert!(pending.iter().all(|name| name.starts_with("- ")), "{pending:?}");
    azure.edit(|estate| estate.finish_replica(&registry("contosoprod"), "northeurope", "10.20.0.9"));
    let mut expected = before.clone();
    expected.push("contosoprod.northeurope.data.azurecr.io 10.20.0.9".to_owned());
    assert_eq!(names(&interface("pe-contosoprod.").expect("there")), expected);
    azure.edit(|estate| estate.approve(&endpoint("pe-contosopending")));
    let approved = names(&interface("pe-contosopending.").expect("there"));
    assert!(approved.iter().any(|name| name.starts_with("contosopending.azurecr.io ")), "{approved:?}");
    azure.edit(|estate| estate.remove_endpoint(&endpoint("pe-contosodev")));
    assert_eq!(interface("pe-contosodev"), None);
    assert_eq!(client.get(&format!("{}?{API_NETWORK}", endpoint("pe-contosodev"))).0, 404);
    azure.edit(|estate| estate.set_record(&zone("privatelink.azurecr.io"), "new", &["10.0.0.1"], 60));
    let (_, record) = client.get(&format!("{}/A/new?{API_DNS}", zone("privatelink.azurecr.io")));
    assert_eq!(record["properties"]["ttl"], 60);
    let graph =
        data()["routes"].as_array().expect("routes").iter().find_map(|r| r.get("request_body").cloned());
    let (_, rows) = client.post(
        "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
        &graph.expect("a query"),
    );
    assert_eq!(rows["totalRecords"], 4, "{rows}");
    let mut query = data()["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .find_map(|r| r.get("request_body").cloned())
        .expect("a query");
    query["query"] =
        json!("Resources | where type in~ ('microsoft.network/privateendpoints') | order by id asc");
    query["subscriptions"] = json!([HUB]);
    let (status, rows) =
        client.post("/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", &query);
    assert_eq!((status, &rows["totalRecords"]), (200, &json!(0)));
}

#[test]
fn tokens_are_issued_checked_and_revoked() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    let ask = |secret: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "client_credentials"),
                ("client_id", CLIENT),
                ("client_secret", secret),
            ])
            .append_pair("scope", &format!("{}/.default", azure::AUDIENCE))
            .finish();
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", azure.url());
        client.send(client.http.post(url).body(form)).expect("an answer")
    };
    let (status, refused) = ask("wrong");
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")));
    let (_, token) = ask(SECRET);
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let url = format!("{}/subscriptions?api-version=2022-12-01", azure.url());
    let get = || client.send(client.http.get(&url).bearer_auth(&token)).expect("an answer").0;
    assert_eq!(get(), 200);
    azure.revoke_tokens();
    assert_eq!(get(), 401);
    assert_eq!(client.send(client.http.get(&url)).expect("an answer").0, 401);
    let seen: Vec<Authorization> = azure
        .log()
        .iter()
        .filter(|seen| seen.kind == Kind::Subscriptions)
        .map(|seen| seen.authorization)
        .collect();
    assert_eq!(seen, [Authorization::Right, Authorization::Wrong, Authorization::Missing]);
    assert_eq!((azure.count(Kind::Token), azure.arm_count()), (2, 3));
}

#[test]
fn faults_are_what_they_say() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    let zones = format!("/subscriptions/{HUB}/providers/Microsoft.Network/privateDnsZones?{API_DNS}");
    let records = format!("{}/ALL?{API_DNS}", zone("privatelink.azurecr.io"));
    let fails = |target: &str| {
        client
            .send(client.http.get(format!("{}{target}", azure.url())).bearer_auth(FIXED_TOKEN))
            .expect_err("no answer")
    };
    azure.fault_times(Kind::Zones, Fault::Status(403), 1);
    let (status, error) = client.get(&zones);
    let message = error["error"]["message"].as_str().expect("text").to_owned();
    assert!(status == 403 && message.contains("'Microsoft.Network/privateDnsZones/read'"), "{message}");
    assert_eq!(client.get(&zones).0, 200);
    azure.fault_times(Kind::Zones, Fault::Reset, 1);
    let mut error: &dyn std::error::Error = &fails(&zones);
    while let Some(source) = error.source() {
        error = source;
    }
    let reset = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(reset, Some(std::io::ErrorKind::ConnectionReset), "{error}");
    for fault in [Fault::Truncated, Fault::TruncatedChunks] {
        azure.fault_times(Kind::Zones, fault, 1);
        let error = fails(&zones);
        assert!(error.is_body() || error.is_decode(), "{error:?}");
    }
    azure.fault(Matcher::path("/privatelink.azurecr.io/all"), Fault::EndlessPaging);
    let links: Vec<Value> = (0..3).fold(vec![json!(records)], |mut links, _| {
        let next = client.get(links.last().and_then(Value::as_str).expect("a link")).1["nextLink"].clone();
        links.push(next);
        links
    });
    assert!(links[1] != links[2] && links[2] != links[3], "{links:?}");
    azure.clear_faults();
    azure.fault(Kind::RecordSets, Fault::EmptyPageWithNext);
    assert_eq!(client.get(&records).1["value"], json!([]));
    assert_eq!(client.list(&records).len(), 9);
    azure.clear_faults();
    azure.fault(Kind::RecordSets, Fault::HalfList);
    assert_eq!(client.list(&records).len(), 2);
    azure.clear_faults();
    azure.fault(Kind::RecordSets, Fault::UnknownFields);
    assert!(client.list(&records)[0]["properties"]["futureField"].is_object());
}

#[test]
fn what_hangs_is_answered_when_released() {
    let azure = Azure::start();
    let client = Client::new(&azure);
    azure.fault(Kind::Subscriptions, Fault::Slow);
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.get("/subscriptions?api-version=2022-12-01"));
        azure.wait_for(Kind::Subscriptions, 1);
        assert!(!waiting.is_finished());
        azure.release();
        waiting.join().expect("no panic")
    });
    assert_eq!(answer.0, 200);
}
