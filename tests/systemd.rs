//! The unit is what systemd takes it for, and as strict as promised.

use std::path::Path;
use std::process::Command;

/// Highest exposure that `systemd-analyze security` may find.
const MAX_EXPOSURE: f64 = 2.0;

/// Whether `systemd-analyze` is there. A skip is told; where peers are required it is a failure.
fn analyzer() -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("HUBDNS_REQUIRE_PEERS").is_none(), "systemd-analyze is missing");
        eprintln!("SKIPPED: systemd-analyze is missing");
    }
    found
}

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/hubdns.service");
    std::fs::read_to_string(path).expect("the unit")
}

#[test]
fn the_unit_verifies() {
    if !analyzer() {
        return;
    }
    // The binary is not installed here: a copy of the unit names the one under test.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copy = directory.path().join("hubdns.service");
    std::fs::write(&copy, unit().replace("/usr/bin/hubdns", env!("CARGO_BIN_EXE_hubdns"))).expect("a copy");
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr);
    // What it says of other units of this machine is no matter of ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("hubdns")).collect();
    assert!(ours.is_empty(), "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_sandbox_is_strict() {
    if !analyzer() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copy = directory.path().join("hubdns.service");
    std::fs::write(&copy, unit()).expect("a copy");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&copy)
        .output()
        .expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stdout);
    let exposure = said
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for hubdns.service:"))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|number| number.parse::<f64>().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("no exposure level in:\n{said}"));
    assert!(exposure <= MAX_EXPOSURE, "{exposure}:\n{said}");
}

#[test]
fn an_invalid_configuration_is_not_tried_again() {
    let unit = unit();
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
    assert!(unit.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"));
    assert!(unit.contains("\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"));
}
