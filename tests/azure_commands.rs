//! Commands that read Azure by themselves, without a daemon: `sync --once
//! --dry-run`, `records`, `findings` and `auth test`, over the scripted Azure.

#[path = "common/azure/mod.rs"]
mod azure;
#[path = "common/daemon.rs"]
mod daemon;

use std::process::Output;

use azure::{Azure, Fault, Kind};

/// Runs the binary with a configuration that reads `azure`.
fn run(azure: &Azure, directory: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let state = directory.path().join("state");
    let toml = format!("[server]\nstate_dir = \"{}\"\n{}", state.display(), azure.source_toml());
    let file = directory.path().join("hubdns.toml");
    std::fs::write(&file, toml).expect("written");
    let mut command = daemon::hubdns();
    command.args(arguments).arg("--config").arg(&file);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    command.output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_dry_run_prints_the_difference_and_writes_nothing() {
    let (azure, directory) = (Azure::start(), tempfile::tempdir().expect("a directory"));
    let output = run(&azure, &directory, &["sync", "--once", "--dry-run"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "contosoprod.privatelink.azurecr.io",
        "10.20.0.5",
        "contosodrift.privatelink.azurecr.io",
        "10.20.0.21",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!directory.path().join("state").exists(), "something was written");
    azure.fault(Kind::Token, Fault::Status(401));
    let output = run(&azure, &directory, &["sync", "--once", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let told = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains(azure::SECRET), "{told}");
}

#[test]
fn records_and_findings_read_the_configuration() {
    let (azure, directory) = (Azure::start(), tempfile::tempdir().expect("a directory"));
    let records = stdout(&run(&azure, &directory, &["records"]));
    assert!(records.contains("contosoprod.eastus.data.azurecr.io"), "{records}");
    let output = run(&azure, &directory, &["findings"]);
    assert_eq!(output.status.code(), Some(1));
    for code in ["missing-data-record", "ip-drift", "connection-pending", "shadowing-zone"] {
        assert!(stdout(&output).contains(code), "{code} is not in\n{}", stdout(&output));
    }
}

#[test]
fn auth_test_names_what_is_missing() {
    let (azure, directory) = (Azure::start(), tempfile::tempdir().expect("a directory"));
    let output = run(&azure, &directory, &["auth", "test"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("client-secret") && !text.contains(azure::SECRET), "{text}");
}
