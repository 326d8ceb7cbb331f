//! With the disk full nothing that is answered changes, it is told, and saving
//! goes on by itself once there is room: the daemon on a small file system of
//! its own, in a mount namespace that ends with it.

#[path = "common/daemon.rs"]
mod daemon;

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use daemon::{HUBDNS, PATIENCE, hubdns};

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
state_dir = "DIR/state"
control_socket = "DIR/control.sock"
[admin]
listen = []
[[sources.az_json]]
name = "example"
embedded = true
[[upstreams]]
name = "nobody"
addresses = ["127.0.0.1:9"]
[forward]
default = "nobody"
"#;

/// Ended by its process id.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this user may mount in a namespace of its own.
fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_changes_no_answer_and_is_told() {
    if !may_mount() {
        eprintln!("SKIPPED: this user may not mount in a namespace of its own");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a plain path");
    std::fs::write(directory.path().join("hubdns.toml"), CONFIG.replace("DIR", path)).expect("written");
    std::fs::create_dir(directory.path().join("state")).expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=128k none {path}/state\n\
         cat /dev/zero > {path}/state/filler 2>/dev/null\n\
         (while [ ! -e {path}/room ]; do sleep 0.05; done; rm {path}/state/filler; : > {path}/freed) &\n\
         exec {HUBDNS} serve --config {path}/hubdns.toml"
    );
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    let _daemon = Ended(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare starts"),
    );
    let ask = |arguments: &[&str]| {
        let mut command = hubdns();
        command.args(arguments).env("HUBDNS_CONTROL_SOCKET", directory.path().join("control.sock"));
        String::from_utf8_lossy(&command.output().expect("the binary starts").stdout).into_owned()
    };
    let wait_until = |what: &str, condition: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !condition() {
            let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait_until("the failure is told", &|| ask(&["findings"]).contains("save-failed"));
    assert!(ask(&["explain", "contosoprod.azurecr.io"]).contains("10.20.0.5"));
    std::fs::write(directory.path().join("room"), "").expect("written");
    wait_until("there is room", &|| directory.path().join("freed").exists());
    wait_until("the set is saved", &|| {
        ask(&["sync", "now"]);
        !ask(&["findings"]).contains("save-failed")
    });
    assert!(ask(&["sync", "history"]).contains("whole"));
    assert!(ask(&["explain", "contosoprod.azurecr.io"]).contains("10.20.0.5"));
}
