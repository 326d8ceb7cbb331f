//! Who may use the control socket: other users, who have to be made by root.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::daemon::Daemon;
use crate::http::ESTATE;

/// Asks the socket at argv[1] for the path argv[2]; prints the status and the body.
const CLIENT: &str = r"
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except PermissionError:
    print('denied')
    sys.exit()
s.sendall(('GET %s HTTP/1.1\r\nhost: x\r\n\r\n' % sys.argv[2]).encode())
data = b''
while part := s.recv(65536):
    data += part
head, _, body = data.decode().partition('\r\n\r\n')
print(head.split(' ')[1], body)
";

/// By its path: one of root's own installation could not be run by another user.
const PYTHON: &str = "/usr/bin/python3";

/// Whether there is what these tests need. A skip is told; where peers are required the
/// tools must be there, root or not.
fn can_change_user() -> bool {
    for tool in [PYTHON, "setpriv"] {
        if Command::new(tool).arg("--version").output().is_err() {
            assert!(std::env::var_os("HUBDNS_REQUIRE_PEERS").is_none(), "{tool} is missing");
            eprintln!("SKIPPED: {tool} is missing");
            return false;
        }
    }
    let works = Command::new("setpriv").args(["--reuid", "65534", "--clear-groups", "true"]).status();
    let may = works.is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: only root can ask as another user");
    }
    may
}

/// What a user of these groups, the first of them the primary one, gets.
fn ask_as(uid: u32, groups: &[u32], socket: &Path) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &groups[0].to_string()]);
    if groups.len() > 1 {
        let others: Vec<String> = groups[1..].iter().map(u32::to_string).collect();
        command.args(["--groups", &others.join(",")]);
    } else {
        command.arg("--clear-groups");
    }
    // Inherited capabilities would let it past the socket's mode.
    command.args(["--inh-caps=-all", "--", PYTHON, "-c", CLIENT]).arg(socket).arg("/v1/status");
    let output = command.output().expect("setpriv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

const STRANGER: u32 = 65_534;
const GROUP: u32 = 54_321;

#[test]
fn another_user_may_not_use_the_control_socket_whatever_its_mode() {
    if !can_change_user() {
        return;
    }
    let daemon = Daemon::start(ESTATE);
    // Only the socket itself keeps them out.
    set_mode(daemon.directory.path(), 0o755);
    assert_eq!(ask_as(STRANGER, &[STRANGER], &daemon.socket()), "denied\n");
    assert!(ask_as(0, &[0], &daemon.socket()).starts_with("200 "));
    // Somebody opens it to all: the kernel lets them in, we do not.
    set_mode(&daemon.socket(), 0o666);
    for _ in 0..20 {
        let answer = ask_as(STRANGER, &[STRANGER, GROUP], &daemon.socket());
        assert!(answer.starts_with("403 ") && answer.contains("user 65534 may not"), "{answer}");
    }
    assert!(ask_as(0, &[0], &daemon.socket()).starts_with("200 "));
    let scrape = daemon.http("/metrics").expect("a scrape").body;
    assert!(scrape.contains("hubdns_admin_requests_forbidden_total 20\n"), "{scrape}");
}

#[test]
fn members_of_the_configured_group_may_use_the_control_socket() {
    if !can_change_user() {
        return;
    }
    let daemon = Daemon::start(&format!("{ESTATE}\n[server]\ncontrol_group = \"{GROUP}\"\n"));
    let mode = std::fs::metadata(daemon.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    set_mode(daemon.directory.path(), 0o755);
    for groups in [&[GROUP][..], &[STRANGER, GROUP], &[STRANGER, 7, GROUP, 9]] {
        assert!(ask_as(STRANGER, groups, &daemon.socket()).starts_with("200 "), "{groups:?}");
    }
    assert_eq!(ask_as(STRANGER, &[STRANGER, 7], &daemon.socket()), "denied\n");
    set_mode(&daemon.socket(), 0o666);
    assert!(ask_as(STRANGER, &[STRANGER, 7], &daemon.socket()).starts_with("403 "));
    assert!(ask_as(STRANGER, &[STRANGER, GROUP], &daemon.socket()).starts_with("200 "));
}

#[test]
fn an_unknown_group_leaves_the_socket_to_its_owner() {
    let daemon = Daemon::start(&format!("{ESTATE}\n[server]\ncontrol_group = \"no-such-group-here\"\n"));
    let mode = std::fs::metadata(daemon.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(daemon.log().contains("no-such-group-here"), "{}", daemon.log());
    assert_eq!(daemon.control("GET", "/readyz").expect("an answer").status, 200);
}
