//! Every fault on every kind of listing keeps what was good.

use std::time::Duration;

use super::*;

/// A part of the path of each kind of listing.
const KINDS: [&str; 11] = [
    "LIST /subscriptions?",
    "LIST /subscriptions/22222222-2222-2222-2222-222222222222/providers/Microsoft.Network/privateEndpoints?",
    "LIST /subscriptions/22222222-2222-2222-2222-222222222222/providers/Microsoft.Network/networkInterfaces?",
    "2222/providers/Microsoft.ContainerRegistry/registries?",
    "1111/providers/Microsoft.Network/privateDnsZones?",
    "2222/providers/Microsoft.Network/virtualNetworks?",
    "/privatelink.azurecr.io/ALL?",
    "/privatelink.azurecr.io/virtualNetworkLinks?",
    "registries/contosoprod/replications?",
    "pe-contosoprod/privateDnsZoneGroups?",
    "GRAPH",
];

#[tokio::test(start_paused = true)]
async fn every_fault_on_every_kind_keeps_what_was_good() {
    for kind in KINDS {
        for fault in Fault::ALL {
            check_fault(kind, fault).await;
        }
    }
}

async fn check_fault(kind: &str, fault: Fault) {
    let estate = Estate::contoso();
    let discovery = if kind == "GRAPH" { "discovery = \"resource-graph\"" } else { BY_ARM };
    let mut reader = Reader::new(settings(discovery), Arc::clone(&estate) as _, Some(&[]));
    reader.pass().await;
    let good = facts(&reader.reading());
    estate.fail(kind, fault);
    // An addition that another listing carries is not delayed.
    let addition = "privatelink.azurecr.io/A/added";
    if !kind.contains("ALL?") {
        let zone =
            format!("/subscriptions/{HUB}/resourceGroups/rg-dns/providers/Microsoft.Network/privateDnsZones");
        estate.add(
            "/privatelink.azurecr.io/all",
            serde_json::json!({"id": format!("{zone}/{addition}"), "name": "added",
                "properties": {"ttl": 5, "aRecords": [{"ipv4Address": "10.22.0.9"}]}}),
        );
    }
    for _ in 0..3 {
        reader.full_pass().await;
        let reading = reader.reading();
        let now = facts(&reading);
        for (scope, facts) in &good {
            let kept = now.get(scope).unwrap_or_else(|| panic!("{kind} {fault:?}: {scope} is gone"));
            assert!(kept.is_superset(facts), "{kind} {fault:?}: {scope}");
        }
        let scopes = reading.scopes.as_ref().unwrap();
        assert!(good.keys().all(|scope| scopes.contains(scope)), "{kind} {fault:?}");
        let added = now.values().flatten().any(|fact| fact.contains(addition));
        assert_eq!(added, !kind.contains("ALL?"), "{kind} {fault:?}");
        // What fails is told, of itself alone; a lie by omission is found out,
        // but for subscriptions, and a lost optional listing is no failure.
        let lie = matches!(fault, Fault::Empty | Fault::Half);
        let optional = kind.contains("virtualNetworks?");
        let told = match (kind, fault) {
            ("LIST /subscriptions?", Fault::Empty) => 2,
            _ if kind.contains("/subscriptions?") && lie => 1,
            _ => usize::from(!(lie || optional && matches!(fault, Fault::Forbidden | Fault::NotFound))),
        };
        assert_eq!(reading.failures.len(), told, "{kind} {fault:?}: {:?}", reading.failures);
        let permission = reading.failures.iter().any(|failure| failure.missing_permission.is_some());
        assert_eq!(permission, fault == Fault::Forbidden && told == 1, "{kind} {fault:?}");
    }
    estate.heal();
    tokio::time::advance(Duration::from_secs(3600)).await;
    // A forbidden index is asked again after a while.
    for _ in 0..if kind == "GRAPH" { 13 } else { 1 } {
        reader.full_pass().await;
    }
    let reading = reader.reading();
    assert!(reading.failures.is_empty(), "{kind} {fault:?}: {:?}", reading.failures);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_among_many_fails_alone() {
    let estate = Estate::contoso();
    estate.fail(HUB, Fault::Forbidden);
    let mut reader = reader(&estate);
    reader.pass().await;
    let reading = reader.reading();
    assert_eq!(reading.failures.len(), 4, "vnets are optional: {:?}", reading.failures);
    assert!(reading.failures.iter().all(|failure| failure.scope.starts_with(HUB)));
    let found = addresses(&merged(&reading));
    assert_eq!(found["contosoprod.privatelink.azurecr.io"].0, "10.20.0.5");
    estate.heal();
    tokio::time::advance(Duration::from_secs(60)).await;
    reader.pass().await;
    check_expected(&reader.reading());
    assert!(reader.reading().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_no_longer_visible_keeps_its_listings() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    let good = facts(&reader.reading());
    estate.edit(|path, body| {
        if path.starts_with("/subscriptions?") {
            body["value"].as_array_mut().unwrap().truncate(1);
        }
    });
    estate.fail(WORK, Fault::Forbidden);
    reader.full_pass().await;
    let reading = reader.reading();
    assert_eq!(facts(&reading), good);
    let scope = format!("{WORK}/subscription");
    let failure = reading.failures.iter().find(|failure| failure.scope == scope).unwrap();
    assert_eq!(failure.error.label(), "not_visible");
    assert!(failure.error.to_string().starts_with("the subscription is no longer visible"));

    // The same after a restart: what was saved counts.
    let mut again = Reader::new(settings(BY_ARM), Arc::clone(&estate) as _, Some(&reading.listings));
    again.pass().await;
    let restarted = again.reading();
    assert!(restarted.failures.iter().any(|failure| failure.scope == scope));
    let scopes = restarted.scopes.unwrap();
    assert!(good.keys().all(|scope| scopes.contains(scope)));

    // Taken out of the configuration it goes.
    let named = format!("subscriptions = [\"{HUB}\"]\n{BY_ARM}");
    let mut named = Reader::new(settings(&named), Arc::clone(&estate) as _, Some(&reading.listings));
    named.pass().await;
    assert!(named.reading().scopes.unwrap().iter().all(|scope| scope.starts_with(HUB)));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_subscription_is_noted_if_it_was_read() {
    let estate = Estate::contoso();
    let disable = || {
        estate.edit(|path, body| {
            if path.starts_with("/subscriptions?") {
                body["value"][1]["state"] = "Disabled".into();
            }
        });
    };
    let mut reader = reader(&estate);
    reader.pass().await;
    disable();
    reader.full_pass().await;
    let reading = reader.reading();
    assert_eq!(failed(&reading), [format!("{WORK}/subscription")]);
    assert!(reading.failures[0].error.to_string().contains("\"Disabled\""));
    estate.requests();
    let mut fresh = super::reader(&estate);
    fresh.pass().await;
    assert!(fresh.reading().failures.is_empty());
    assert!(!estate.requests().iter().any(|request| request.contains(WORK)));
}

#[tokio::test(start_paused = true)]
async fn one_odd_resource_spoils_itself_alone() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    reader.pass().await;
    let good = facts(&reader.reading());
    estate.edit(|path, body| {
        for value in body["value"].as_array_mut().into_iter().flatten() {
            if estate::id(value).ends_with("/a/contosomanual") {
                value["properties"]["aRecords"][0]["ipv4Address"] = "10.20.0.1.5".into();
            }
            if path.contains("/all?") && estate::id(value).ends_with("/a/contosodev") {
                value["properties"]["aRecords"][0]["ipv4Address"] = "10.21.0.55".into();
            }
        }
    });
    reader.full_pass().await;
    let reading = reader.reading();
    let scope = format!("{HUB}/rg-dns/privatednszones/privatelink.azurecr.io/records");
    assert_eq!(failed(&reading), [scope.as_str()]);
    assert!(reading.failures[0].error.to_string().contains("contosomanual: ipv4address"));
    let changed: Vec<_> = facts(&reading)[&scope].difference(&good[&scope]).cloned().collect();
    assert!(changed.len() == 1 && changed[0].contains("contosodev"), "{changed:?}");
}
