//! The reader in the background: who is told what, and when it ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use hubdns::metrics::azure::AzureMetrics;
use hubdns::sources::{Changed, ReadRecords as _, open_reusing};
use tokio::sync::mpsc::unbounded_channel;

use super::*;

/// More than any test should take.
const PATIENCE: Duration = Duration::from_secs(60);

fn counter() -> (Arc<AtomicUsize>, Changed) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    (
        count,
        Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    )
}

/// Runs `reader` for `seconds` of a clock that stands still.
async fn run_for(reader: &mut Reader, changed: &Changed, seconds: u64) {
    let (_commands, mut receiver) = unbounded_channel();
    let run = reader.run(&mut receiver, changed);
    let _ = tokio::time::timeout(Duration::from_secs(seconds), run).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_when_nothing_changed() {
    let estate = Estate::contoso();
    let mut reader = reader(&estate);
    let (count, changed) = counter();
    run_for(&mut reader, &changed, 10).await;
    let first = count.swap(0, Ordering::SeqCst);
    assert!((1..=2).contains(&first), "{first}");
    let requests = estate.requests().len();
    run_for(&mut reader, &changed, 3600).await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert!(estate.requests().len() > requests, "passes ran");
    // A failure is news once, and so is its end.
    estate.fail("replications", Fault::Status500);
    run_for(&mut reader, &changed, 3600).await;
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);
    assert_eq!(reader.reading().failures.len(), 4);
    estate.heal();
    run_for(&mut reader, &changed, 3600).await;
    assert!((1..=4).contains(&count.load(Ordering::SeqCst)));
    assert!(reader.reading().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_read_again_sooner_than_the_rest() {
    let estate = Estate::contoso();
    estate.fail("pe-contosoprod/privateDnsZoneGroups", Fault::Status500);
    let more = format!("{BY_ARM}\ninterval_seconds = 300");
    let mut reader = Reader::new(settings(&more), Arc::clone(&estate) as _, Some(&[]));
    let (_, changed) = counter();
    run_for(&mut reader, &changed, 250).await;
    let requests = estate.requests();
    let tries = requests.iter().filter(|r| r.contains("pe-contosoprod/privateDnsZoneGroups")).count();
    // At 0, 30, 90 and 210 seconds, more or less a tenth.
    assert_eq!(tries, 4);
    assert_eq!(requests.iter().filter(|request| request.starts_with("LIST /subscriptions?")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_hangs_delays_no_other() {
    let estate = Estate::contoso();
    estate.fail("privatelink.azurecr.io/ALL", Fault::Hang);
    let mut reader = reader(&estate);
    let (count, changed) = counter();
    run_for(&mut reader, &changed, 5).await;
    assert!(count.load(Ordering::SeqCst) > 0, "what came is told at once");
    let found = addresses(&merged(&reader.reading()));
    assert_eq!(found["contosoprod.privatelink.azurecr.io"].0, "10.20.0.5");
    assert!(reader.reading().is_pending, "the first pass still waits");
    // Additions come through in later passes, while it hangs on.
    estate.edit(|_, body| {
        for value in std::iter::once(&mut *body) {
            for value in value["value"].as_array_mut().into_iter().flatten() {
                if estate::id(value).ends_with("/pe-contosodev-nic") {
                    value["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] =
                        "10.21.0.44".into();
                }
            }
        }
    });
    run_for(&mut reader, &changed, 400).await;
    assert!(facts(&reader.reading()).values().flatten().any(|fact| fact.contains("10.21.0.44")));
    // In the end it has failed.
    run_for(&mut reader, &changed, 3600).await;
    let reading = reader.reading();
    assert!(!reading.is_pending);
    let labels: Vec<&str> = reading.failures.iter().map(|failure| failure.error.label()).collect();
    assert_eq!(labels, ["too_long", "too_long"], "{:?}", reading.failures);
}

#[test]
fn a_thread_reads_tells_refreshes_and_ends() {
    let estate = Estate::contoso();
    let (dropped, ended) = channel();
    estate.tell_drop(dropped);
    let source = azure(&estate, BY_ARM);
    let (news, told) = channel();
    source.start(Arc::new(move || {
        let _ = news.send(());
    }));
    loop {
        told.recv_timeout(PATIENCE).expect("news");
        let reading = source.read().unwrap();
        if !reading.is_pending {
            check_expected(&reading);
            break;
        }
    }
    // It starts once only, and a refresh reads everything.
    source.start(Arc::new(|| panic!("started twice")));
    estate.edit(|path, body| {
        if path.contains("/virtualnetworklinks?") {
            body["value"][0]["properties"]["resolutionPolicy"] = "NxDomainRedirect".into();
        }
    });
    let (finished, passed) = channel();
    assert!(source.refresh(Arc::new(move || {
        let _ = finished.send(());
    })));
    passed.recv_timeout(PATIENCE).expect("the pass that was asked for ends");
    told.recv_timeout(PATIENCE).expect("news of the links");
    assert!(facts(&source.read().unwrap()).values().flatten().any(|fact| fact.contains("NxDomainRedirect")));
    // A dropped source ends, also while a request hangs.
    estate.requests();
    estate.fail("", Fault::Hang);
    source.refresh(Arc::new(|| ()));
    while estate.requests().is_empty() {
        std::thread::yield_now();
    }
    drop(estate);
    drop(source);
    ended.recv_timeout(PATIENCE).expect("the thread has let go of the estate");
}

#[test]
fn a_client_that_cannot_be_made_is_told() {
    use hubdns::sources::azure::arm::ArmError;
    use hubdns::sources::azure::http::HttpError;
    let fail = |_: &Settings, _, _: &Arc<AzureMetrics>| {
        Err(ArmError::Http(HttpError::Setup("no such file".to_owned())))
    };
    let source = Azure::with_client(settings(""), Arc::new(fail));
    assert_eq!(source.read().unwrap_err().to_string(), "cannot set up HTTPS: no such file");
    let (news, told) = channel();
    source.start(Arc::new(move || {
        let _ = news.send(());
    }));
    told.recv_timeout(PATIENCE).expect("news");
    let reading = source.read().unwrap();
    assert_eq!(failed(&reading), ["connection"]);
    assert!(!reading.is_pending, "there is something to tell");
}

#[test]
fn a_reload_keeps_a_reader_whose_settings_did_not_change() {
    let one = config(BY_ARM);
    let sources = hubdns::sources::open(&one);
    let at = |sources: &[Box<dyn hubdns::sources::ReadRecords>]| {
        std::ptr::from_ref(sources[0].as_ref()).cast::<()>()
    };
    let before = at(&sources);
    let sources = open_reusing(&one, sources);
    assert_eq!(at(&sources), before);
    let mut other = one.clone();
    other.names.zones.push("corp.example".parse().unwrap());
    assert!(!sources[0].is_made_from(&other.sources[0], &other));
    let mut other = one.clone();
    other.names.ttl_cap = 7;
    assert!(sources[0].is_made_from(&other.sources[0], &other));
}
