//! What is wrong with the files that upstreams' certificates are checked by.

use std::path::Path;

use hubdns::config::{Config, advice};

/// A directory with these files.
pub(crate) fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

/// A certificate as PEM.
pub(crate) fn certificate() -> String {
    rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).expect("a certificate").cert.pem()
}

fn key() -> String {
    rcgen::KeyPair::generate().expect("a key").serialize_pem()
}

fn parse(url: &str, ca_file: &str, directory: &Path) -> Result<Config, String> {
    let text = format!(
        "[[upstreams]]\nname = \"a\"\n[[upstreams.servers]]\nurl = \"{url}\"\nca_file = \"{ca_file}\"\n\
         [forward]\ndefault = \"a\"\n"
    );
    Config::parse(&text, "t.toml", directory).map_err(|error| error.to_string())
}

/// That `ca_file` is refused at its place, as one `which`.
#[track_caller]
fn check(directory: &Path, ca_file: &str, which: &str) {
    let wanted = format!("ca_file: found \"{}\", which {which}", directory.join(ca_file).display());
    for url in ["tls://192.0.2.1#dns.example", "https://192.0.2.1/dns-query"] {
        let found = parse(url, ca_file, directory).expect_err("refused");
        assert!(found.starts_with(&format!("t.toml:5: upstreams[0].servers[0].{wanted}")), "{found}");
        assert!(
            found.ends_with("; expected a PEM file of at least one certificate, all of them X.509"),
            "{found}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn files_of_certificates_are_read_with_the_configuration() {
    let good = certificate();
    let half: String = good.chars().take(good.len() / 2).collect();
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let directory = directory(&[
        ("good.pem", &good),
        ("several.pem", &format!("# both\n{good}{}{good}", key())),
        ("empty.pem", ""),
        ("key.pem", &key()),
        ("half.pem", &half),
        ("junk.pem", &format!("{good}{text}")),
    ]);
    let at = directory.path();
    let path = |name: &str| at.join(name).display().to_string();
    for file in ["good.pem", "several.pem", &path("good.pem")] {
        parse("tls://192.0.2.1", file, at).unwrap_or_else(|error| panic!("{error}"));
    }
    check(at, "none.pem", "cannot be read (entity not found)");
    check(at, "good.pem/none", "cannot be read (");
    check(at, ".", "is no regular file");
    check(at, "empty.pem", "has no certificate in it");
    check(at, "key.pem", "has no certificate in it");
    check(at, "half.pem", "has a certificate in it that cannot be read (");
    check(at, "junk.pem", "has a certificate in it that cannot be read (");
}

#[test]
fn a_file_that_may_not_be_read_or_never_ends_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory(&[("secret.pem", &certificate())]);
    let at = directory.path();
    std::fs::set_permissions(at.join("secret.pem"), std::fs::Permissions::from_mode(0o000)).expect("changed");
    // Root reads everything.
    if std::fs::read(at.join("secret.pem")).is_err() {
        check(at, "secret.pem", "cannot be read (permission denied)");
    }
    let made = std::process::Command::new("mkfifo").arg(at.join("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    check(at, "pipe", "is no regular file");
    std::fs::write(at.join("long.pem"), " ".repeat((8 << 20) + 1)).expect("written");
    check(at, "long.pem", "has more than 8388608 bytes");
}

#[test]
fn problems_with_the_file_come_beside_the_others() {
    let found = parse("tls://0.0.0.0", "none.pem", Path::new("/nonexistent")).expect_err("refused");
    let keys: Vec<&str> = found.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(keys, ["upstreams[0].servers[0].url", "upstreams[0].servers[0].ca_file"], "{found}");
}

#[test]
fn whoever_has_certificates_of_its_own_needs_none_of_the_system() {
    let directory = directory(&[("good.pem", &certificate())]);
    let config = parse("tls://192.0.2.1", "good.pem", directory.path()).expect("good");
    let remarks = advice(&config);
    assert!(!remarks.iter().any(|remark| remark.starts_with("upstreams:")), "{remarks:?}");
}
