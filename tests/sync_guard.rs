//! Cycles with the guard, by a clock of the test's own: grace times,
//! decisions of operators, restarts, and disks that fail.

#[path = "common/site.rs"]
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use hubdns::sync::{Operation, State, Trigger};
use site::{Site, name};

const GRACE: u64 = 300;

fn codes(state: &State) -> Vec<&'static str> {
    state.findings.iter().map(|finding| finding.code.label()).collect()
}

#[test]
fn a_removal_takes_effect_after_its_grace_time_and_a_restart_does_not_begin_it_anew() {
    let site = Site::new("a b c d e f g h");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write("b c d e f g h");
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.held_back, report.pending), (false, 0, 1));
    drop(sync);
    site.clock.advance(GRACE - 1);
    let mut sync = site.start();
    assert_eq!(sync.cycle(Trigger::Routine).pending, 1);
    site.clock.advance(1);
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.pending), (true, 0));
    assert_eq!(site::owners(&sync.status().get()).len(), 7);
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    let site = Site::new("a b c d e f g h");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write("b c d e f g h");
    sync.cycle(Trigger::Routine);
    for wall in [0, u64::MAX / 2, 1_000] {
        site.clock.set_wall(wall);
        assert_eq!(sync.cycle(Trigger::Routine).pending, 1);
    }
}

#[test]
fn a_reload_means_what_the_files_say() {
    let site = Site::new("a b c d");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write("a");
    assert_eq!(sync.cycle(Trigger::Routine).held_back, 3);
    let report = sync.reconfigure(&site.config());
    assert_eq!((report.changed, report.held_back), (true, 0));
}

#[test]
fn what_is_held_is_told_accepted_and_rejected() {
    let site = Site::new("a b c d");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write("c d e");
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.held_back), (true, 2), "the addition is published");
    let state = sync.status().get();
    assert_eq!(codes(&state), ["held-back", "held-back"]);
    assert!(state.findings[0].text.contains("hubdns sync accept a.corp.example"), "{:?}", state.findings);
    assert_ne!(state.findings[0].first_seen, 0);
    // Rejected: silent, and it stays.
    let rejected = sync.operate(&Operation::Reject(vec![name("a.corp.example")])).unwrap();
    assert_eq!((rejected.removals, rejected.report.held_back), (1, 2));
    assert_eq!(codes(&sync.status().get()), ["held-back"]);
    drop(sync);
    let mut sync = site.start();
    site.clock.advance(100 * GRACE);
    assert_eq!(sync.cycle(Trigger::Routine).held_back, 2, "over restarts, whatever the time");
    assert_eq!(codes(&sync.status().get()), ["held-back"]);
    let accepted = sync.operate(&Operation::Accept(vec![name("b.corp.example")])).unwrap();
    assert_eq!((accepted.removals, accepted.report.changed, accepted.report.held_back), (1, true, 1));
    let accepted = sync.operate(&Operation::Accept(Vec::new())).unwrap();
    assert_eq!(accepted.report.held_back, 0);
    assert_eq!(site::owners(&sync.status().get()).len(), 3);
    sync.operate(&Operation::Accept(Vec::new())).unwrap_err();
    sync.operate(&Operation::Reject(vec![name("z.corp.example")])).unwrap_err();
}

#[test]
fn a_rollback_stays_until_it_is_accepted_over_restarts_too() {
    let site = Site::new("a b");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write("a b c");
    sync.cycle(Trigger::Routine);
    let outcome = sync.operate(&Operation::Rollback(1)).unwrap();
    assert_eq!((outcome.report.changed, outcome.report.generation), (true, 3));
    assert_eq!(sync.publisher().current().generation(), 3);
    assert_eq!(site::owners(&sync.status().get()).len(), 2);
    assert_eq!(codes(&sync.status().get()), ["sync-pinned"]);
    site.write("a d");
    assert!(!sync.cycle(Trigger::Routine).changed);
    assert!(!sync.reconfigure(&site.config()).changed, "a reload is no accept");
    drop(sync);
    let mut sync = site.start();
    assert!(!sync.cycle(Trigger::Routine).changed);
    let state = sync.status().get();
    assert_eq!((site::owners(&state).len(), codes(&state)), (2, vec!["sync-pinned"]));
    assert_ne!(state.wanted, state.set, "the reading is compared");
    let outcome = sync.operate(&Operation::Accept(Vec::new())).unwrap();
    assert_eq!((outcome.removals, outcome.report.changed, outcome.report.generation), (1, true, 4));
    assert_eq!(site::owners(&sync.status().get()), ["a.corp.example", "d.corp.example"]);
    assert!(codes(&sync.status().get()).is_empty());
    assert!(sync.operate(&Operation::Rollback(77)).is_err());
}

#[test]
fn ownership_ends_by_accept_alone() {
    let site = Site::new("a");
    let nic = |label: &str| {
        format!(
            r#"{{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/{label}",
            "privateEndpoint": {{"id": "/{label}"}}, "ipConfigurations": [{{"privateIPAddress": "10.0.0.1",
            "privateLinkConnectionProperties": {{"groupId": "registry", "fqdns": ["{label}.azurecr.io"]}}}}]}}"#
        )
    };
    site.write_estate(&format!("[{}, {}]", nic("x"), nic("y")));
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    site.write_estate(&format!("[{}]", nic("y")));
    assert_eq!(sync.cycle(Trigger::Routine).held_back, 2);
    let own = |sync: &hubdns::sync::Sync| sync.status().get().set.own.len();
    assert_eq!(own(&sync), 2);
    let outcome = sync.operate(&Operation::Accept(vec![name("x.azurecr.io")])).unwrap();
    assert_eq!((outcome.removals, outcome.report.held_back, own(&sync)), (2, 0, 1));
    // What the sources still show stays ours.
    sync.operate(&Operation::Accept(vec![name("y.azurecr.io")])).unwrap();
    assert_eq!(own(&sync), 1);
    drop(sync);
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    assert_eq!(own(&sync), 1);
}

#[test]
fn lost_facts_lose_no_answer_and_no_ownership() {
    let site = Site::new("a b c d e f g h");
    site.start().cycle(Trigger::Routine);
    fs::remove_file(site.state().join("generation-00000001.facts")).unwrap();
    fs::write(site.zone(), "broken\n").unwrap();
    let mut sync = site.start();
    for _ in 0..3 {
        site.clock.advance(GRACE);
        assert!(!sync.cycle(Trigger::Routine).changed);
    }
    site.write("b c d e f g h");
    assert_eq!(sync.cycle(Trigger::Routine).pending, 1);
    site.clock.advance(GRACE);
    assert!(sync.cycle(Trigger::Routine).changed);
}

#[test]
fn a_file_in_the_directorys_place_is_told_and_tried_again() {
    let site = Site::new("a");
    fs::write(site.state(), "a file").unwrap();
    let mut sync = site.start();
    assert!(sync.cycle(Trigger::Routine).changed);
    assert_eq!(codes(&sync.status().get()), ["save-failed", "saved-set-damaged"]);
    fs::remove_file(site.state()).unwrap();
    sync.cycle(Trigger::Routine);
    assert!(codes(&sync.status().get()).is_empty());
    assert_eq!(site.start_elsewhere().status().get().generation, 1);
}

#[test]
fn a_directory_that_turns_read_only_is_told_and_tried_again() {
    let site = Site::new("a");
    let mut sync = site.start();
    sync.cycle(Trigger::Routine);
    // Root writes where it may not; a directory in the file's place stops it too.
    fs::set_permissions(site.state(), fs::Permissions::from_mode(0o500)).unwrap();
    let obstacle = site.state().join("generation-00000002.facts/x");
    let _ = fs::create_dir_all(&obstacle);
    site.write("a b");
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, sync.publisher().current().generation()), (true, 2));
    assert_eq!(codes(&sync.status().get()), ["save-failed"]);
    fs::set_permissions(site.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let _ = fs::remove_dir_all(obstacle.parent().unwrap());
    sync.cycle(Trigger::Routine);
    assert!(codes(&sync.status().get()).is_empty());
    assert!(site.state().join("generation-00000002.set").exists());
}

#[test]
fn a_successor_numbers_above_what_was_saved_meanwhile() {
    let site = Site::new("a");
    let mut first = site.start();
    first.cycle(Trigger::Routine);
    let mut second = site.start();
    site.write("a b");
    assert_eq!(second.cycle(Trigger::Routine).generation, 2);
    site.write("a b c");
    assert_eq!(first.cycle(Trigger::Routine).generation, 2);
    drop(first);
    second.cycle(Trigger::Routine);
    let state = second.status().get();
    assert_eq!((state.generation, codes(&state)), (3, vec![]));
    assert_eq!(second.publisher().current().generation(), 3);
}
