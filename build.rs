//! Tells the crate which commit it is built from: `HUBDNS_COMMIT` from the
//! environment (container builds have no repository), else git's own word,
//! else nothing.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HUBDNS_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("HUBDNS_COMMIT").ok().filter(|commit| is_plain(commit));
    let commit = given.or_else(from_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=HUBDNS_BUILD_COMMIT={commit}");
}

/// The commit of the repository whose root this package is.
fn from_git() -> Option<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR")?;
    // A copy inside somebody else's repository must not claim that one's commit.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&root).canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with every commit and checkout.
    for path in ["HEAD", "logs/HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", path]).filter(|file| Path::new(file).exists()) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_plain(commit))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn is_plain(commit: &str) -> bool {
    !commit.is_empty() && commit.len() <= 64 && commit.bytes().all(|b| b.is_ascii_alphanumeric())
}
