//! Real DNS software beside the daemon: found, configured in a temporary
//! directory, started in the foreground on a free loopback port, ended by pid.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is awaited takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says loudly that something could not be tried; a failure with
/// `HUBDNS_REQUIRE_PEERS=1`, as in CI.
pub fn skip(reason: &str) {
    let required = std::env::var_os("HUBDNS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
    eprintln!("SKIPPED: {reason}");
}

/// The path of `program`. `None`, and [`skip`], where it is missing.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// A loopback port that is free for UDP and TCP.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// A running peer.
pub struct Peer {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its configuration and log.
    pub directory: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts `program` with `files` written to a directory of its own, in
    /// which `DIR` and `PORT` are replaced, as they are in `arguments`; waits
    /// until it answers DNS. A port that another took meanwhile is changed.
    pub fn start(program: &Path, arguments: &[&str], files: &[(&str, String)]) -> Self {
        for _ in 0..5 {
            if let Some(peer) = Self::try_start(program, arguments, files) {
                return peer;
            }
        }
        panic!("{} does not start", program.display());
    }

    fn try_start(program: &Path, arguments: &[&str], files: &[(&str, String)]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let dir = directory.path().to_str().expect("UTF-8").to_owned();
        let fill = |text: &str| text.replace("DIR", &dir).replace("PORT", &port.to_string());
        for (name, text) in files {
            std::fs::write(directory.path().join(name), fill(text)).expect("written");
        }
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let child = Command::new(program)
            .args(arguments.iter().map(|argument| fill(argument)))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the peer starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut peer = Self { child, address, directory };
        let start = Instant::now();
        while !answers(address) {
            if let Some(ended) = peer.child.try_wait().expect("a child") {
                eprintln!("{} ended with {ended}: {}", program.display(), peer.log());
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not answer: {}", program.display(), peer.log());
        }
        // Servers go on without TCP where another took that port meanwhile.
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Some(peer);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("{} does not answer by TCP: {}", program.display(), peer.log());
        None
    }

    /// What it wrote to its standard streams.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// Whether a DNS server answers there, with whatever code.
fn answers(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    let query = super::estate::query("probe.invalid", hubdns::wire::Rtype::A, 0, None);
    socket.connect(address).is_ok() && socket.send(&query).is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

/// What `dig` prints with `+short` style arguments: the lines of the answer
/// section as `owner ttl type data`, with the status in front.
pub fn dig(program: &Path, server: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tries=2", "+time=20", "+noall", "+comments", "+answer"])
        .args(arguments)
        .output()
        .expect("dig runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("no answer");
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "IN").collect();
        words.join(" ")
    });
    let mut shown = vec![status.to_owned()];
    shown.extend(records);
    shown.join(" | ")
}
