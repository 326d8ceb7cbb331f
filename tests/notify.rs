//! What systemd is told: readiness, reloads, signs of life, the end.

#[path = "common/daemon.rs"]
mod daemon;

use std::os::unix::net::UnixDatagram;

use daemon::{Daemon, PATIENCE};

const ESTATE: &str = "\
[[sources.static]]\nname = \"contoso.azurecr.io\"\ntype = \"A\"\nvalues = [\"10.1.2.3\"]\n\
[[upstreams]]\nname = \"silent\"\naddresses = [\"127.0.0.1:9\"]\n[forward]\ndefault = \"silent\"\n";

/// Waits for a message that has `line`.
fn await_line(manager: &UnixDatagram, line: &str) -> String {
    let mut buf = [0; 4096];
    for _ in 0..1000 {
        let len = manager.recv(&mut buf).unwrap_or_else(|error| panic!("no {line}: {error}"));
        let text = String::from_utf8_lossy(&buf[..len]).into_owned();
        if text.lines().any(|found| found == line) {
            return text;
        }
    }
    panic!("no {line} among many messages");
}

#[test]
fn systemd_hears_of_every_change_of_state() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("a plain path")), ("WATCHDOG_USEC", "3000000")];
    let mut daemon = Daemon::start_in(directory, ESTATE, &environment);
    let ready = await_line(&manager, "READY=1");
    assert!(ready.contains("STATUS=generation 1"), "{ready}");
    await_line(&manager, "WATCHDOG=1");
    daemon.signal("HUP");
    let reloading = await_line(&manager, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "systemd 253 wants the time: {reloading}");
    await_line(&manager, "READY=1");
    daemon.rewrite("nonsense = 1");
    daemon.signal("HUP");
    await_line(&manager, "RELOADING=1");
    // A refused configuration ends the reload too, else systemd would wait for ever.
    await_line(&manager, "READY=1");
    daemon.signal("TERM");
    await_line(&manager, "STOPPING=1");
    assert!(daemon.wait_for_end().success(), "{}", daemon.log());
}
