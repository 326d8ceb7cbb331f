//! What vanishes is gone when Azure says so, and not before.

use std::time::Duration;

use super::*;
use serde_json::json;

fn records() -> String {
    format!("{HUB}/rg-dns/privatednszones/privatelink.azurecr.io/records")
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_azure_confirms_counts() {
    for (end, scope) in [
        ("/a/contosoold", records()),
        ("/networkinterfaces/pe-contosodev-nic", format!("{WORK}/networkInterfaces")),
        ("/privateendpoints/pe-contosodev", format!("{WORK}/privateEndpoints")),
        ("/registries/contosobasic", format!("{WORK}/registries")),
        ("/privatednszones/westeurope.data.privatelink.azurecr.io", format!("{HUB}/privateDnsZones")),
        ("/replications/eastus", format!("{WORK}/rg-acr/registries/contosoprod/replications")),
        ("/privatelink.azurecr.io/virtualnetworklinks/link-hub", String::new()),
    ] {
        let estate = Estate::contoso();
        let mut reader = reader(&estate);
        reader.pass().await;
        let before = facts(&reader.reading());
        estate.delete(end);
        estate.requests();
        let report = reader.full_pass().await;
        let reading = reader.reading();
        assert!(reading.failures.is_empty(), "{end}: {:?}", reading.failures);
        assert!(report.changed, "{end}");
        let asked = estate
            .requests()
            .iter()
            .filter(|r| r.starts_with("GET ") && r.to_lowercase().contains(end))
            .count();
        assert_eq!(asked, 1, "{end} is asked for by name");
        let after = facts(&reading);
        if !scope.is_empty() {
            assert!(after[&scope].len() < before[&scope].len(), "{end}");
        }
        let left = after.values().flatten().any(|fact| {
            fact.to_lowercase().contains(&format!("{end}\""))
                && fact.to_lowercase().starts_with(&format!("fact {{ origin: \"{end}"))
        });
        assert!(!left, "{end}");
        // Asked for once: a later pass has no doubt.
        reader.full_pass().await;
        assert!(!estate.requests().iter().any(|request| request.starts_with("GET ")), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn listings_below_a_deleted_resource_go_with_it() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    estate.delete("/privatednszones/privatelink.azurecr.io");
    estate.delete("/privateendpoints/pe-contosodev");
    reader.full_pass().await;
    let reading = reader.reading();
    let scopes = reading.scopes.as_ref().unwrap();
    for gone in [records(), format!("{WORK}/rg-pe/privateendpoints/pe-contosodev/privateDnsZoneGroups")] {
        assert!(!scopes.contains(&gone), "{gone}");
        assert!(!reading.listings.iter().any(|listing| listing.id.scope == gone), "{gone}");
        assert!(!failed(&reading).contains(&gone.as_str()), "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_and_not_confirmed_stays_and_is_told() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    let good = facts(&reader.reading());
    // A lost role on a resource group: it is left out of lists, and may not be read by name.
    estate.edit(|path, body| {
        if path.contains("/all?") {
            body["value"]
                .as_array_mut()
                .unwrap()
                .retain(|value| !estate::id(value).ends_with("/a/contosoold"));
        }
    });
    estate.fail("GET /subscriptions/11111111", Fault::Forbidden);
    for _ in 0..2 {
        reader.full_pass().await;
        let reading = reader.reading();
        assert_eq!(facts(&reading), good);
        assert_eq!(failed(&reading), [records().as_str()]);
        assert_eq!(reading.failures[0].missing_permission.as_deref(), Some("Microsoft.Network/some/read"));
    }
    estate.heal();
    reader.full_pass().await;
    let reading = reader.reading();
    assert!(reading.failures.is_empty());
    assert_eq!(facts(&reading)[&records()].len(), good[&records()].len() - 1);
}

#[tokio::test(start_paused = true)]
async fn a_great_many_deletions_are_confirmed_over_passes() {
    let estate = Estate::contoso();
    let zone =
        format!("/subscriptions/{HUB}/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones");
    for i in 0..120 {
        estate.add(
            "/westeurope.data.privatelink.azurecr.io/all",
            json!({"id": format!("{zone}/westeurope.data.privatelink.azurecr.io/A/r{i}"), "name": format!("r{i}"),
                "properties": {"ttl": 5, "aRecords": [{"ipv4Address": "10.22.0.9"}]}}),
        );
    }
    let mut reader = reader(&estate);
    reader.pass().await;
    let scope = format!("{HUB}/rg-dns/privatednszones/westeurope.data.privatelink.azurecr.io/records");
    let count = |reader: &Reader| facts(&reader.reading())[&scope].len();
    assert_eq!(count(&reader), 121);
    for i in 0..120 {
        estate.delete(&format!("/westeurope.data.privatelink.azurecr.io/a/r{i}"));
    }
    estate.add(
        "/westeurope.data.privatelink.azurecr.io/all",
        json!({"id": format!("{zone}/westeurope.data.privatelink.azurecr.io/A/new"), "name": "new",
            "properties": {"ttl": 5, "aRecords": [{"ipv4Address": "10.22.0.9"}]}}),
    );
    estate.requests();
    for (left, fails) in [(72, true), (22, true), (2, false)] {
        reader.full_pass().await;
        // The new record is there at once.
        assert!(facts(&reader.reading())[&scope].iter().any(|fact| fact.contains("A/new")));
        assert_eq!(count(&reader), left);
        let gets = estate.requests().iter().filter(|request| request.starts_with("GET ")).count();
        assert!(gets <= 50, "{gets}");
        let reading = reader.reading();
        assert_eq!(reading.failures.len(), usize::from(fails));
        if fails {
            let text = reading.failures[0].error.to_string();
            assert!(text.starts_with(&format!("{} resources are missing", left - 2)), "{text}");
            assert_eq!(reading.failures[0].error.label(), "unconfirmed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_into_an_empty_estate_keeps_what_was_saved() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    let saved = reader.reading();
    for fault in [Fault::Empty, Fault::Half, Fault::Status500] {
        estate.fail("LIST ", fault);
        let mut again = Reader::new(settings(BY_ARM), Arc::clone(&estate) as _, Some(&saved.listings));
        again.pass().await;
        let reading = again.reading();
        let (good, now) = (facts(&saved), facts(&reading));
        assert!(now.iter().all(|(scope, facts)| facts == &good[scope]), "{fault:?}");
        let scopes = reading.scopes.unwrap();
        assert!(good.keys().all(|scope| scopes.contains(scope)), "{fault:?}");
        estate.heal();
    }
    // Nothing may be dropped by a reader that was not told what was saved.
    estate.fail("LIST /subscriptions?", Fault::Status500);
    let mut blind = Reader::new(settings(BY_ARM), Arc::clone(&estate) as _, None);
    blind.pass().await;
    assert_eq!(blind.reading().scopes, None);
    estate.heal();
    tokio::time::advance(Duration::from_secs(60)).await;
    blind.pass().await;
    assert_eq!(blind.reading().scopes.unwrap(), saved.scopes.unwrap());
}
