//! The reader of Azure, over an estate in memory.

mod background;
mod deletions;
mod discovery;
mod estate;
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use estate::{Estate, Fault, file};
use hubdns::config::{Config, Source};
use hubdns::snapshot::model::RecordSet;
use hubdns::sources::Reading;
use hubdns::sources::azure::{Azure, Connect, Reader, Settings};
use hubdns::sources::facts::{Listing, What};
use hubdns::sync::memory::Memory;
use hubdns::sync::merge::merge;
use hubdns::sync::policy::Policy;
use hubdns::wire::Rtype;
use hubdns::wire::rdata;

const HUB: &str = "11111111-1111-1111-1111-111111111111";
const WORK: &str = "22222222-2222-2222-2222-222222222222";

/// A configuration with one source `azure`; `more` are lines of its table.
fn config(more: &str) -> Config {
    let text = format!("[[sources.azure]]\nname = \"azure\"\n{more}\n");
    Config::parse(&text, "test.toml", Path::new("/")).unwrap_or_else(|error| panic!("{error}"))
}

fn settings(more: &str) -> Settings {
    let config = config(more);
    let source = config.sources.iter().find_map(|source| match source {
        Source::Azure(source) => Some(source),
        _ => None,
    });
    Settings::new(source.expect("the source"), &config)
}

const BY_ARM: &str = "discovery = \"resource-manager\"";

/// A reader that finds interfaces by Resource Manager and has nothing saved.
fn reader(estate: &Arc<Estate>) -> Reader {
    Reader::new(settings(BY_ARM), Arc::clone(estate) as _, Some(&[]))
}

/// A source over `estate`.
fn azure(estate: &Arc<Estate>, more: &str) -> Azure {
    let estate = Arc::downgrade(estate);
    let connect: Connect = Arc::new(move |_, _, _| Ok(estate.upgrade().expect("the estate") as _));
    Azure::with_client(settings(more), connect)
}

/// What each listing says, without times.
fn facts(reading: &Reading) -> BTreeMap<String, BTreeSet<String>> {
    let texts = |listing: &Listing| listing.facts.iter().map(|fact| format!("{fact:?}")).collect();
    reading.listings.iter().map(|listing| (listing.id.scope.clone(), texts(listing))).collect()
}

fn failed(reading: &Reading) -> Vec<&str> {
    reading.failures.iter().map(|failure| failure.scope.as_str()).collect()
}

fn merged(reading: &Reading) -> RecordSet {
    let listings: Vec<&Listing> = reading.listings.iter().collect();
    merge(&listings, &Policy::new(&config("")), &Memory::default(), &hubdns::routes::RouteTable::new()).set
}

/// Owner names with their addresses and TTL.
fn addresses(set: &RecordSet) -> BTreeMap<String, (String, u32)> {
    let rrsets = set.zones.iter().flat_map(|zone| &zone.rrsets).filter(|rrset| rrset.rtype == Rtype::A);
    let text = |rdatas: hubdns::snapshot::model::Rdatas<'_>| {
        let texts: Vec<String> = rdatas.map(|data| rdata::to_text(Rtype::A, data)).collect();
        texts.join(",")
    };
    rrsets.map(|rrset| (rrset.owner.to_string(), (text(rrset.rdatas), rrset.ttl))).collect()
}

/// What the file expects: interfaces where they say something, else the zone.
fn expected() -> BTreeMap<String, String> {
    let file = file();
    let mut expected = BTreeMap::new();
    for (name, entry) in file["expected"]["from_zone"].as_object().unwrap() {
        expected.insert(name.clone(), entry[0].as_str().unwrap().to_owned());
    }
    for (name, address) in file["expected"]["from_nics"].as_object().unwrap() {
        let private = name.replace(".azurecr.io", ".privatelink.azurecr.io");
        expected.insert(private, address.as_str().unwrap().to_owned());
    }
    expected
}

#[track_caller]
fn check_expected(reading: &Reading) {
    let set = merged(reading);
    let found: BTreeMap<String, String> =
        addresses(&set).into_iter().map(|(name, (address, _))| (name, address)).collect();
    assert_eq!(found, expected());
    let aliases: BTreeSet<String> = set.aliases.iter().map(|alias| alias.public.to_string()).collect();
    let from_nics = file()["expected"]["from_nics"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(aliases, from_nics);
}

#[tokio::test(start_paused = true)]
async fn an_estate_by_resource_manager_alone() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    assert!(reader.reading().is_pending && reader.reading().listings.is_empty());
    let first = reader.pass().await;
    let reading = reader.reading();
    assert!(!reading.is_pending);
    assert!(reading.failures.is_empty(), "{:?}", reading.failures);
    check_expected(&reading);
    // One list of subscriptions, five listings of each (a page more for the
    // interfaces), two zones with four pages and two links, four registries
    // with endpoints, four endpoints' zone groups.
    let requests = estate.requests();
    assert_eq!(requests.len(), 1 + 2 * 5 + 1 + 4 + 2 + 4 + 4, "{requests:#?}");
    assert_eq!(first.requests as usize, requests.len());
    assert!(!requests.iter().any(|request| request.contains("blob") || request.contains("contosobasic")));

    // The second pass leaves out what changes seldom, and finds nothing new.
    let second = reader.pass().await;
    let requests = estate.requests();
    assert_eq!(requests.len(), 1 + 2 * 4 + 1 + 4 + 4, "{requests:#?}");
    assert!(!second.changed && second.failed == 0);
    assert_eq!(facts(&reader.reading()), facts(&reading));
}

#[tokio::test(start_paused = true)]
async fn listings_have_scopes_that_tell_what_they_are() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    let reading = reader.reading();
    let scopes: BTreeSet<String> = reading.listings.iter().map(|listing| listing.id.scope.clone()).collect();
    for scope in [
        "subscriptions".to_owned(),
        format!("{WORK}/privateEndpoints"),
        format!("{WORK}/networkInterfaces"),
        format!("{WORK}/registries"),
        format!("{HUB}/privateDnsZones"),
        format!("{HUB}/rg-dns/privatednszones/privatelink.azurecr.io/records"),
        format!("{HUB}/rg-dns/privatednszones/westeurope.data.privatelink.azurecr.io/virtualNetworkLinks"),
        format!("{WORK}/rg-acr/registries/contosoprod/replications"),
        format!("{WORK}/rg-pe/privateendpoints/pe-contosoprod/privateDnsZoneGroups"),
    ] {
        assert!(scopes.contains(&scope), "{scope} in {scopes:#?}");
    }
    assert!(scopes.is_subset(reading.scopes.as_ref().unwrap()));
    let kinds = |wanted: fn(&What) -> bool| {
        reading.listings.iter().flat_map(|listing| &listing.facts).filter(|fact| wanted(&fact.what)).count()
    };
    assert_eq!(kinds(|what| matches!(what, What::Registry(_))), 5);
    assert_eq!(kinds(|what| matches!(what, What::Endpoint(_))), 4);
    assert_eq!(kinds(|what| matches!(what, What::ZoneLink(_))), 3);
    assert_eq!(kinds(|what| matches!(what, What::ZoneGroup(_))), 1);
    assert_eq!(kinds(|what| matches!(what, What::Replica(_))), 2);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_and_management_groups_can_be_named() {
    let estate = Estate::contoso();
    let named = format!("subscriptions = [\"{HUB}\"]\n{BY_ARM}");
    let mut reader = Reader::new(settings(&named), Arc::clone(&estate) as _, Some(&[]));
    reader.pass().await;
    let requests = estate.requests();
    assert!(requests.iter().all(|request| request.contains(HUB)), "{requests:#?}");
    assert_eq!(failed(&reader.reading()), <[&str; 0]>::default());

    let group = format!("management_groups = [\"corp\"]\n{BY_ARM}");
    estate.add_list(
        "/providers/Microsoft.Management/managementGroups/corp/descendants?api-version=2020-05-01",
        &[
            serde_json::json!({"id": format!("/subscriptions/{WORK}"), "type": "/subscriptions", "name": WORK}),
            serde_json::json!({"id": "/providers/Microsoft.Management/managementGroups/inner", "name": "inner"}),
        ],
    );
    let mut reader = Reader::new(settings(&group), Arc::clone(&estate) as _, Some(&[]));
    reader.pass().await;
    assert!(!estate.requests().iter().any(|request| request.contains(HUB)));
    let reading = reader.reading();
    assert_eq!(failed(&reading), <[&str; 0]>::default());
    assert!(reading.listings.iter().any(|l| l.id.scope == "managementGroups/corp"));
    assert_eq!(addresses(&merged(&reading))["contosoprod.privatelink.azurecr.io"].0, "10.20.0.5");
}

#[test]
fn a_command_reads_once_and_waits() {
    use hubdns::sources::ReadRecords as _;
    let estate = Estate::contoso();
    let source = azure(&estate, BY_ARM);
    check_expected(&source.read().unwrap());
    estate.fail("", Fault::Status500);
    let error = source.read().unwrap_err();
    assert_eq!((error.label(), error.to_string().as_str()), ("status", "status 500: as the test wants it"));
}
