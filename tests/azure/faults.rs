//! The fault matrix: whatever goes wrong with whatever request, no good answer
//! is removed or changed, an addition that another listing carries is not
//! delayed, and all is well again once the fault is gone.

use super::azure::edits::{endpoint, registry, zone};
use super::azure::{Azure, Fault, Kind};
use super::rig::{Answers, Rig, expected};

/// Requests that take longer fail; the faults that hang last as long.
const KEYS: &str = "request_timeout_seconds = 1";

/// Kinds of requests, each with its own Azure, side by side.
const KINDS: [Kind; 11] = [
    Kind::Token,
    Kind::Subscriptions,
    Kind::Zones,
    Kind::RecordSets,
    Kind::Links,
    Kind::Registries,
    Kind::Replications,
    Kind::Endpoints,
    Kind::ZoneGroups,
    Kind::Interfaces,
    Kind::Graph,
];

fn faults() -> Vec<Fault> {
    vec![
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(409),
        Fault::Status(429),
        Fault::StatusAfter(429, "1".to_owned()),
        Fault::Status(500),
        Fault::Reset,
        Fault::Slow,
        Fault::Truncated,
        Fault::InvalidJson,
        Fault::EmptyList,
        Fault::HalfList,
        Fault::ForeignNextLink("https://127.0.0.1:1".to_owned()),
        Fault::EndlessPaging,
        Fault::EmptyPageWithNext,
        Fault::UnknownFields,
    ]
}

/// One kind of request, all faults one after the other.
fn check(kind: Kind) {
    let mut rig = Rig::new(Azure::start(), KEYS, "");
    rig.cycle();
    let mut good = expected(&[]);
    assert_eq!(rig.answers(), good, "before any fault");
    let mut records = rig.records();
    for (round, fault) in faults().into_iter().enumerate() {
        let what = format!("{kind:?} with {fault:?}");
        rig.azure.fault(kind, fault);
        let added = add(&rig.azure, kind, round);
        rig.cycle();
        let answers = rig.answers();
        for (name, addresses) in &good {
            assert_eq!(answers.get(name), Some(addresses), "{what}: {name}");
        }
        for record in &records {
            assert!(rig.records().contains(record), "{what}: {record}");
        }
        if let Some((name, address)) = &added {
            assert!(is_carried(&rig, kind, name, address), "{what} delays {name}");
        }
        rig.azure.clear_faults();
        settle(&mut rig, &mut good, added, &what);
        records = rig.records();
    }
}

/// Makes something that a listing other than `kind`'s carries: an address of a
/// new replica's data endpoint, or a record where interfaces cannot be read.
fn add(azure: &Azure, kind: Kind, round: usize) -> Option<(String, String)> {
    let address = format!("10.21.1.{}", round + 1);
    match kind {
        // Nothing at all can be read.
        Kind::Token | Kind::Subscriptions => None,
        Kind::Interfaces | Kind::Graph | Kind::Endpoints => {
            let label = format!("manual{round}");
            azure.edit(|estate| {
                estate.set_record(&zone("privatelink.azurecr.io"), &label, &[&address], 300);
            });
            Some((format!("{label}.privatelink.azurecr.io"), address))
        }
        _ => {
            let region = format!("region{round}");
            azure.edit(|estate| estate.add_replica(&registry("contosodev"), &region, &address));
            Some((format!("contosodev.{region}.data.azurecr.io"), address))
        }
    }
}

fn is_carried(rig: &Rig, kind: Kind, name: &str, address: &str) -> bool {
    match kind {
        Kind::Interfaces | Kind::Graph | Kind::Endpoints => {
            rig.records().iter().any(|record| record.starts_with(name) && record.ends_with(address))
        }
        _ => rig.answers().get(name).is_some_and(|held| held.iter().any(|held| held.to_string() == address)),
    }
}

/// Reads until all is as Azure has it; a few passes at most.
fn settle(rig: &mut Rig, good: &mut Answers, added: Option<(String, String)>, what: &str) {
    if let Some((name, address)) = added
        && name.contains(".data.")
    {
        good.insert(name, vec![address.parse().expect("an address")]);
    }
    for _ in 0..4 {
        let report = rig.cycle();
        if report.failed.is_empty() && rig.answers() == *good {
            return;
        }
    }
    assert_eq!(rig.answers(), *good, "{what}: not recovered");
    panic!("{what}: still failing: {:?}", rig.cycle().failed);
}

/// All kinds at once: most of the time each waits for retries.
#[test]
fn no_fault_of_any_request_harms_an_answer() {
    let failed: Vec<Kind> = std::thread::scope(|scope| {
        let running = KINDS.map(|kind| (kind, scope.spawn(move || check(kind))));
        running.into_iter().filter_map(|(kind, thread)| thread.join().is_err().then_some(kind)).collect()
    });
    assert!(failed.is_empty(), "the reasons are above: {failed:?}");
}

#[test]
fn one_bad_subscription_among_many() {
    let mut rig = Rig::new(Azure::start(), KEYS, "");
    rig.cycle();
    let good = expected(&[]);
    // The hub's subscription holds the zones, the other one the endpoints.
    rig.azure.fault(super::azure::Matcher::path(super::azure::HUB), Fault::Status(403));
    rig.azure.edit(|estate| estate.add_replica(&registry("contosodev"), "northeurope", "10.21.0.9"));
    let report = rig.cycle();
    assert!(!report.failed.is_empty());
    let mut wanted = good;
    wanted.insert("contosodev.northeurope.data.azurecr.io".to_owned(), vec![[10, 21, 0, 9].into()]);
    assert_eq!(rig.answers(), wanted);
    let codes: Vec<String> = rig.findings().into_iter().map(|(code, _)| code).collect();
    assert!(codes.contains(&"identity-missing-permission".to_owned()), "{codes:?}");
}

#[test]
fn a_replica_being_added_never_stops_the_registry() {
    let mut rig = Rig::new(Azure::start(), KEYS, "");
    rig.cycle();
    let good = expected(&[]);
    rig.azure.edit(|estate| estate.begin_replica(&registry("contosoprod"), "northeurope"));
    for _ in 0..3 {
        rig.cycle();
        assert_eq!(rig.answers(), good, "while the connection is pending and names are missing");
    }
    // Nor does a restart, the saved memory included.
    rig.restart();
    assert_eq!(rig.answers(), good);
    rig.cycle();
    assert_eq!(rig.answers(), good, "after a restart");
    rig.azure.edit(|estate| estate.finish_replica(&registry("contosoprod"), "northeurope", "10.20.0.9"));
    rig.cycle();
    let mut wanted = good;
    wanted.insert("contosoprod.northeurope.data.azurecr.io".to_owned(), vec![[10, 20, 0, 9].into()]);
    assert_eq!(rig.answers(), wanted);
}

#[test]
fn a_deleted_endpoint_goes_by_the_guard() {
    let mut rig = Rig::new(
        Azure::start(),
        KEYS,
        "[guard]\ngrace_seconds = 0\nmax_removed_percent = 100\nasked_within_seconds = 0\n",
    );
    rig.cycle();
    rig.azure.edit(|estate| estate.remove_endpoint(&endpoint("pe-contosodev")));
    rig.cycle();
    rig.cycle();
    assert!(rig.findings().iter().any(|(code, _)| code == "held-back"), "{:?}", rig.findings());
    assert!(rig.answers().contains_key("contosodev.azurecr.io"), "all names of a registry wait for a person");
}
