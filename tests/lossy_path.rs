//! On a path that loses one packet in ten each way, delays and reorders them,
//! hubdns answers: the comparison of `benches/measure/lossy.py` in short, so
//! that it is known to work.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use common::peer::find;

const HUBDNS: &str = env!("CARGO_BIN_EXE_hubdns");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/measure/lossy.py");
/// How the script says that this user or kernel cannot make such a path.
const NOT_POSSIBLE: i32 = 77;

#[test]
fn what_is_lost_is_asked_again() {
    let (Some(python), Some(_), Some(_)) = (find("python3"), find("ip"), find("nft")) else { return };
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = if is_root {
        Command::new(&python)
    } else {
        // Root in a user namespace, where names of network namespaces need a place.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c"]);
        command.args(["mount -t tmpfs none /run && exec \"$@\" || exit 77", "sh"]).arg(&python);
        command
    };
    let output = command.args([SCRIPT, HUBDNS, "--smoke"]).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: {} does not start", command.get_program().display());
        return;
    };
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NOT_POSSIBLE) || (!is_root && told.starts_with("unshare:")) {
        eprintln!("SKIPPED: no network namespaces for this user: {told}");
        return;
    }
    assert!(output.status.success(), "{}: {told}", output.status);
}
