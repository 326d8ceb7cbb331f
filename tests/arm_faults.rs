//! Every fault of Azure that is known, at the client of Resource Manager: the
//! right error, never part of a listing, and all is well once it is over.

#[path = "common/arm.rs"]
mod arm;
#[path = "common/azure/mod.rs"]
mod azure;

use std::time::Duration;

use arm::{DNS, Rig, fast, zones};
use azure::edits::zone;
use azure::{Authorization, Azure, Fault, HUB, Kind, WORKLOAD};
use hubdns::metrics::azure::{AzureFamily, AzureWait};
use hubdns::sources::azure::arm::{ArmError, Family, Limits};
use hubdns::sources::azure::http::HttpError;

const QUERY: &str = "Resources | where type =~ 'microsoft.network/networkinterfaces' | order by id asc";

/// A listing's family and path; `None` is Resource Graph.
type Request = Option<(Family, String)>;

/// The requests by which an estate is read, with the number of items each lists.
fn requests() -> Vec<(Kind, Request, usize)> {
    let zone = zone("privatelink.azurecr.io");
    let registries = format!("/subscriptions/{WORKLOAD}/providers/Microsoft.ContainerRegistry/registries");
    let network = |kind: &str| {
        format!("/subscriptions/{WORKLOAD}/providers/Microsoft.Network/{kind}?api-version=2024-05-01")
    };
    let registry = azure::edits::registry("contosoprod");
    let groups =
        format!("{}/privateDnsZoneGroups?api-version=2024-05-01", azure::edits::endpoint("pe-contosoprod"));
    let version = "api-version=2025-11-01";
    vec![
        (
            Kind::Subscriptions,
            Some((Family::Resources, "/subscriptions?api-version=2022-12-01".to_owned())),
            2,
        ),
        (Kind::Zones, Some((Family::PrivateDns, zones(HUB))), 3),
        (
            Kind::RecordSets,
            Some((Family::RecordSets(zone.to_ascii_lowercase()), format!("{zone}/ALL?{DNS}"))),
            9,
        ),
        (Kind::Links, Some((Family::PrivateDns, format!("{zone}/virtualNetworkLinks?{DNS}"))), 2),
        (Kind::Registries, Some((Family::Registry, format!("{registries}?{version}"))), 5),
        (Kind::Replications, Some((Family::Registry, format!("{registry}/replications?{version}"))), 2),
        (Kind::Endpoints, Some((Family::Network, network("privateEndpoints"))), 5),
        (Kind::ZoneGroups, Some((Family::Network, groups)), 1),
        (Kind::Interfaces, Some((Family::Network, network("networkInterfaces"))), 6),
        (Kind::Graph, None, 6),
    ]
}

/// What comes of a request: the number of items.
fn ask(rig: &Rig, request: Option<&(Family, String)>) -> Result<usize, ArmError> {
    let list = match request {
        Some((family, path)) => rig.list(family, path),
        None => rig.graph(&[HUB, WORKLOAD], QUERY),
    };
    list.map(|list| list.values.len())
}

/// Each fault at each request: `wanted` holds for what comes of it, and the
/// request succeeds once the fault is over.
fn check_with(
    limits: &Limits,
    fault: &Fault,
    tries: Option<usize>,
    wanted: impl Fn(Kind, usize, &Result<usize, ArmError>) -> bool,
) {
    let azure = Azure::start();
    let rig = Rig::new(&azure, limits.clone());
    for (kind, request, count) in requests() {
        azure.clear_log();
        azure.fault(kind, fault.clone());
        let result = ask(&rig, request.as_ref());
        assert!(wanted(kind, count, &result), "{kind:?} with {fault:?}: {result:?}");
        if let Some(tries) = tries {
            assert_eq!(azure.count(kind), tries, "tries of {kind:?} with {fault:?}");
        }
        azure.clear_faults();
        let result = ask(&rig, request.as_ref());
        assert!(result.as_ref().is_ok_and(|found| *found == count), "{kind:?} after {fault:?}: {result:?}");
    }
}

fn check(fault: &Fault, tries: Option<usize>, wanted: impl Fn(&ArmError) -> bool) {
    check_with(&fast(), fault, tries, |_, _, result| result.as_ref().is_err_and(&wanted));
}

#[test]
fn refusals_are_final() {
    check(&Fault::Status(401), Some(2), |error| matches!(error, ArmError::Unauthorized { .. }));
    check(&Fault::Status(404), Some(1), |error| matches!(error, ArmError::NotFound));
    check(&Fault::Status(409), Some(1), |error| matches!(error, ArmError::Conflict { .. }));
    check(&Fault::Status(400), Some(1), |error| matches!(error, ArmError::Status { status: 400, .. }));
}

#[test]
fn forbidden_names_the_action() {
    check_with(
        &fast(),
        &Fault::Status(403),
        Some(1),
        |kind, _, result| matches!(result, Err(ArmError::Forbidden { action, .. }) if action == kind.action()),
    );
}

#[test]
fn what_may_do_better_is_tried_again_and_not_for_ever() {
    for status in [408, 500, 502, 503, 504] {
        check(
            &Fault::Status(status),
            Some(4),
            |error| matches!(error, ArmError::Status { status: told, .. } if *told == status),
        );
    }
    check(&Fault::Status(429), Some(4), |error| matches!(error, ArmError::Throttled { retry_after: None }));
    let now = Fault::StatusAfter(429, "0".to_owned());
    check(&now, Some(4), |error| matches!(error, ArmError::Throttled { retry_after: Some(Duration::ZERO) }));
}

#[test]
fn a_reset_and_a_cut_body_are_tried_again() {
    check(&Fault::Reset, Some(4), |error| matches!(error, ArmError::Http(HttpError::Failed(_))));
    check(&Fault::Truncated, Some(4), |error| matches!(error, ArmError::Body(_)));
    check(&Fault::TruncatedChunks, Some(4), |error| matches!(error, ArmError::Body(_)));
}

#[test]
fn trouble_that_passes_is_not_noticed() {
    let passing =
        [Fault::Status(500), Fault::Status(429), Fault::Reset, Fault::Truncated, Fault::Status(401)];
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    rig.tokens.set(azure::FIXED_TOKEN, azure::FIXED_TOKEN);
    for fault in passing {
        for (kind, request, count) in requests() {
            azure.fault_times(kind, fault.clone(), 1);
            let result = ask(&rig, request.as_ref());
            assert!(
                result.as_ref().is_ok_and(|found| *found == count),
                "{kind:?} with {fault:?}: {result:?}"
            );
            azure.clear_faults();
        }
    }
    assert!(rig.metrics().waits(AzureFamily::Network, AzureWait::Backoff) > 0);
}

#[test]
fn a_failure_on_a_later_page_fails_the_listing() {
    let azure = Azure::start();
    let rig = Rig::new(&azure, fast());
    let (_, request, _) = requests().swap_remove(2);
    for fault in [Fault::Status(403), Fault::Status(503), Fault::Truncated, Fault::InvalidJson] {
        azure.fault(azure::Matcher::path("$skiptoken=Y29udG9zb2RyaWZ0"), fault);
        assert!(ask(&rig, request.as_ref()).is_err());
        azure.clear_faults();
    }
}

#[test]
fn bodies_that_are_none_are_errors() {
    check(&Fault::InvalidJson, Some(1), |error| matches!(error, ArmError::Body(_)));
    check(&Fault::WrongShape, Some(1), |error| matches!(error, ArmError::Body(_)));
    let limits = Limits { page_bytes: 1 << 20, ..fast() };
    check_with(&limits, &Fault::Padded(2 << 20), Some(1), |_, _, result| {
        matches!(result, Err(ArmError::Body(_)))
    });
}

#[test]
fn what_hangs_is_given_up() {
    let limits = Limits { attempt: Duration::from_millis(300), retries: 1, ..fast() };
    let azure = Azure::start();
    let rig = Rig::new(&azure, limits);
    azure.fault(Kind::Zones, Fault::Slow);
    let result = rig.list(&Family::PrivateDns, &zones(HUB));
    assert!(matches!(result, Err(ArmError::Http(HttpError::TimedOut))), "{result:?}");
    assert_eq!(azure.count(Kind::Zones), 2);
    azure.clear_faults();
    let patient = Rig::new(&azure, fast());
    assert_eq!(patient.list(&Family::PrivateDns, &zones(HUB)).expect("a listing").values.len(), 3);
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    check_with(&fast(), &Fault::UnknownFields, None, |_, count, result| {
        result.as_ref().is_ok_and(|found| *found == count)
    });
}

#[test]
fn an_empty_page_with_a_next_link_is_a_page() {
    check_with(&fast(), &Fault::EmptyPageWithNext, None, |_, count, result| {
        result.as_ref().is_ok_and(|found| *found == count)
    });
}

#[test]
fn lists_that_are_short_without_a_sign_are_left_to_the_guard() {
    check_with(&fast(), &Fault::EmptyList, Some(1), |_, _, result| matches!(result, Ok(0)));
    check_with(&fast(), &Fault::HalfList, Some(1), |_, count, result| {
        result.as_ref().is_ok_and(|found| *found < count || count < 2)
    });
}

#[test]
fn endless_paging_ends() {
    let limits = Limits { pages: 20, ..fast() };
    // By the same items again, or where there are none by the number of pages.
    check_with(&limits, &Fault::EndlessPaging, None, |_, count, result| {
        if count == 0 {
            matches!(result, Err(ArmError::TooManyPages(20)))
        } else {
            matches!(result, Err(ArmError::Body(_)))
        }
    });
    check_with(&limits, &Fault::CyclicPaging, Some(2), |_, _, result| {
        matches!(result, Err(ArmError::Body(_)))
    });
}

#[test]
fn a_token_never_goes_to_another_host() {
    let other = Azure::start();
    let port = other.address().port();
    let hosts = [
        other.url(),
        format!("https://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("https://127.0.0.2:{port}"),
    ];
    for host in hosts {
        let azure = Azure::start();
        let rig = Rig::new(&azure, fast());
        for (kind, request, _) in requests() {
            azure.fault(kind, Fault::ForeignNextLink(host.clone()));
            let result = ask(&rig, request.as_ref());
            // Resource Graph knows no links: it follows none.
            let wanted = kind == Kind::Graph && result.is_ok()
                || matches!(&result, Err(ArmError::ForeignNextLink(told)) if !told.contains("skipToken"));
            assert!(wanted, "{kind:?} to {host}: {result:?}");
            azure.clear_faults();
        }
    }
    assert!(other.log().is_empty(), "{:?}", other.log());
    assert!(other.log().iter().all(|seen| seen.authorization == Authorization::Missing));
}
