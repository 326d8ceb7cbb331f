//! How long a large estate takes within Azure's limits: 1,000 zones, one of
//! them full, 50 registries and 200 endpoints each. Time is tokio's, so that
//! minutes pass at once.
//!
//! `cargo test --test azure_scale -- --nocapture`

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hubdns::config::{Config, Source};
use hubdns::sources::azure::arm::{ArmError, Family, List};
use hubdns::sources::azure::{Client, Reader, Settings};
use hubdns::sources::facts::Listing;
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::merge;
use hubdns::sync::policy::Policy;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const SUBSCRIPTIONS: usize = 10;
const ZONES: usize = 1000;
const REGISTRIES: usize = 50;
const ENDPOINTS_PER_REGISTRY: usize = 200;
const FULL_ZONE: usize = 25_000;
const PAGE: usize = 100;
const LATENCY: Duration = Duration::from_millis(80);

/// Azure with its limits: 250 reads at once and 25 a second for each
/// subscription, 100 pages of record sets a minute for each zone.
#[derive(Default)]
struct Large {
    bodies: HashMap<String, Vec<Value>>,
    rows: Vec<Value>,
    /// When the bucket is full again.
    buckets: Mutex<HashMap<String, Instant>>,
    requests: Mutex<HashMap<&'static str, u32>>,
}

fn subscription(index: usize) -> String {
    format!("{index:08}-0000-0000-0000-000000000000")
}

fn id(subscription: usize, provider: &str, rest: &str) -> String {
    let subscription = self::subscription(subscription);
    format!("/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.{provider}/{rest}")
}

impl Large {
    fn new() -> Self {
        let mut large = Self::default();
        let list = |large: &mut Self, path: String, value: Value| {
            large.bodies.entry(path.to_lowercase()).or_default().push(value);
        };
        for at in 0..SUBSCRIPTIONS {
            let subscription = subscription(at);
            let base = format!("/subscriptions/{subscription}");
            list(&mut large, "/subscriptions".to_owned(), json!({"id": base, "state": "Enabled"}));
            for word in [
                "Network/privateEndpoints",
                "Network/networkInterfaces",
                "ContainerRegistry/registries",
                "Network/privateDnsZones",
                "Network/virtualNetworks",
            ] {
                large.bodies.insert(format!("{base}/providers/Microsoft.{word}").to_lowercase(), Vec::new());
            }
        }
        let lists =
            |at: usize, word: &str| format!("/subscriptions/{}/providers/Microsoft.{word}", subscription(at));
        let vnet = id(0, "Network", "virtualNetworks/hub");
        for zone in 0..ZONES {
            let at = zone % SUBSCRIPTIONS;
            let zone_id = id(at, "Network", &format!("privateDnsZones/r{zone}.data.privatelink.azurecr.io"));
            list(&mut large, lists(at, "Network/privateDnsZones"), json!({"id": zone_id, "etag": "1"}));
            let sets = if zone == 0 { FULL_ZONE } else { 20 };
            for set in 0..sets {
                list(
                    &mut large,
                    format!("{zone_id}/ALL"),
                    json!({"id": format!("{zone_id}/A/n{set}"), "name": format!("n{set}"), "etag": "1",
                        "properties": {"ttl": 10, "aRecords": [{"ipv4Address": "10.1.0.1"}]}}),
                );
            }
            list(
                &mut large,
                format!("{zone_id}/virtualNetworkLinks"),
                json!({"id": format!("{zone_id}/virtualNetworkLinks/l"), "properties": {"virtualNetwork": {"id": vnet}}}),
            );
        }
        for registry in 0..REGISTRIES {
            let at = registry % SUBSCRIPTIONS;
            let registry_id = id(at, "ContainerRegistry", &format!("registries/contoso{registry}"));
            list(
                &mut large,
                lists(at, "ContainerRegistry/registries"),
                json!({"id": registry_id, "location": "westeurope",
                    "properties": {"loginServer": format!("contoso{registry}.azurecr.io")}}),
            );
            large.bodies.insert(format!("{registry_id}/replications").to_lowercase(), Vec::new());
            for endpoint in 0..ENDPOINTS_PER_REGISTRY {
                let name = format!("pe-{registry}-{endpoint}");
                let endpoint_id = id(at, "Network", &format!("privateEndpoints/{name}"));
                let interface_id = id(at, "Network", &format!("networkInterfaces/{name}"));
                large.bodies.insert(format!("{endpoint_id}/privateDnsZoneGroups").to_lowercase(), Vec::new());
                list(
                    &mut large,
                    lists(at, "Network/privateEndpoints"),
                    json!({"id": endpoint_id, "etag": "1", "properties": {
                        "networkInterfaces": [{"id": interface_id}],
                        "privateLinkServiceConnections": [{"properties": {
                            "privateLinkServiceId": registry_id,
                            "privateLinkServiceConnectionState": {"status": "Approved"}}}]}}),
                );
                let interface = json!({"id": interface_id, "etag": "1", "properties": {
                    "privateEndpoint": {"id": endpoint_id},
                    "ipConfigurations": [{"name": "a", "properties": {
                        "privateIPAddress": format!("10.{registry}.{endpoint}.4"),
                        "privateLinkConnectionProperties": {"groupId": "registry",
                            "requiredMemberName": "registry",
                            "fqdns": [format!("contoso{registry}.azurecr.io")]}}}]}});
                large.rows.push(interface.clone());
                list(&mut large, lists(at, "Network/networkInterfaces"), interface);
            }
        }
        large
    }

    /// Waits for a token of a bucket that holds `burst` and gets one each `every`.
    async fn take(&self, bucket: &str, burst: u32, every: Duration) {
        let wait = {
            let mut buckets = self.buckets.lock().expect("no panic");
            let now = Instant::now();
            let full_at = buckets.entry(bucket.to_owned()).or_insert(now);
            *full_at = (*full_at).max(now) + every;
            (*full_at - now).saturating_sub(every * burst)
        };
        sleep(wait).await;
    }

    async fn request(&self, family: &Family, path: &str) {
        let (name, zone) = match family {
            Family::Resources => ("subscriptions", None),
            Family::Network if path.contains("ZoneGroups") => ("zone groups", None),
            Family::Network => ("interfaces, endpoints, networks", None),
            Family::PrivateDns if path.contains("Links") => ("links", None),
            Family::PrivateDns => ("zones", None),
            Family::RecordSets(zone) => ("record sets", Some(zone)),
            Family::Registry => ("registries, replications", None),
            Family::Graph => ("resource graph", None),
        };
        *self.requests.lock().expect("no panic").entry(name).or_default() += 1;
        if let Some(zone) = zone {
            self.take(zone, 40, Duration::from_secs(1)).await;
        }
        let subscription = path.split('/').nth(2).unwrap_or_default();
        self.take(subscription, 250, Duration::from_millis(40)).await;
        sleep(LATENCY).await;
    }
}

#[async_trait]
impl Client for Large {
    async fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        let key = path.split('?').next().unwrap_or_default().to_lowercase();
        let values = self.bodies.get(&key).ok_or(ArmError::NotFound)?;
        let pages = values.len().div_ceil(PAGE).max(1);
        for _ in 0..pages {
            self.request(family, path).await;
        }
        Ok(List { values: values.clone(), pages: u32::try_from(pages).expect("few") })
    }

    async fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError> {
        self.request(family, path).await;
        Err(ArmError::NotFound)
    }

    async fn graph(&self, _: &[String], _: &str) -> Result<List, ArmError> {
        let pages = self.rows.len().div_ceil(1000);
        for _ in 0..pages {
            self.request(&Family::Graph, "").await;
        }
        Ok(List { values: self.rows.clone(), pages: u32::try_from(pages).expect("few") })
    }
}

fn run(discovery: &str) {
    let text = format!("[[sources.azure]]\ndiscovery = \"{discovery}\"\n");
    let config = Config::parse(&text, "test.toml", Path::new("/")).expect("a configuration");
    let Some(Source::Azure(source)) = config.sources.first() else { panic!("the source") };
    let settings = Settings::new(source, &config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let large = Arc::new(Large::new());
        let mut reader = Reader::new(settings.clone(), Arc::clone(&large) as _, Some(&[]));
        let policy = Policy::new(&config);
        for pass in 1..=3 {
            let (start, wall) = (Instant::now(), std::time::Instant::now());
            let mut names_after = None;
            let report = reader.pass().await;
            let took = start.elapsed();
            let reading = reader.reading();
            assert!(reading.failures.is_empty(), "{:?}", reading.failures);
            if pass == 1 {
                let listings: Vec<&Listing> = reading.listings.iter().collect();
                let merged =
                    merge(&listings, &policy, &Memory::default(), &hubdns::routes::RouteTable::new());
                assert_eq!(merged.set.aliases.len(), REGISTRIES);
                names_after = Some(merged.set.aliases.len());
            } else {
                assert!(!report.changed, "equal data is no change");
                assert!(took < settings.source.interval, "pass {pass} took {took:?}");
            }
            let mut by_kind: Vec<_> = large.requests.lock().expect("no panic").drain().collect();
            by_kind.sort_unstable();
            println!(
                "{discovery}, pass {pass}: {} requests in {:.0} s (computed in {:.1} s){}",
                report.requests,
                took.as_secs_f64(),
                wall.elapsed().as_secs_f64(),
                names_after.map_or(String::new(), |names| format!(", {names} public names"))
            );
            println!("    {by_kind:?}");
            let rest = settings.source.interval.saturating_sub(took);
            tokio::time::advance(rest).await;
        }
    });
}

#[test]
fn a_large_estate_is_read_in_the_time_that_the_limits_leave() {
    run("resource-manager");
    run("auto");
}
