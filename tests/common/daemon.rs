//! The built binary as a child process on free loopback ports, and a client
//! for what it answers.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hubdns::wire::{Name, Rtype};
use serde_json::Value;

/// Nothing that is awaited takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub const HUBDNS: &str = env!("CARGO_BIN_EXE_hubdns");

/// A running daemon; dropped, it is ended by its process id.
pub struct Daemon {
    child: Child,
    /// Configuration, state, control socket and log are in here.
    pub directory: tempfile::TempDir,
    /// The first address that answers DNS.
    pub dns: SocketAddr,
    /// The first admin address.
    pub admin: SocketAddr,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A command of the binary that no `HUBDNS_*` variable of the caller disturbs.
pub fn hubdns() -> Command {
    let mut command = Command::new(HUBDNS);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("HUBDNS_") {
            command.env_remove(key);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    command
}

impl Daemon {
    /// Starts `hubdns serve` with `toml` and waits until it is ready. Listen
    /// addresses, state directory and control socket come from here; `DIR` in
    /// `toml` stands for the temporary directory.
    pub fn start(toml: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), toml, &[])
    }

    /// The same in a directory of the test's own, with further environment.
    pub fn start_in(directory: tempfile::TempDir, toml: &str, environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::spawn(directory, toml, environment);
        daemon.wait_until("it is ready", |daemon| {
            daemon.control("GET", "/readyz").is_some_and(|answer| answer.status == 200)
        });
        let status = daemon.status();
        let address = |key: &str| status[key][0].as_str().and_then(|text| text.parse().ok());
        daemon.dns = address("listen").expect("a DNS address");
        daemon.admin = address("admin").expect("an admin address");
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn spawn(directory: tempfile::TempDir, toml: &str, environment: &[(&str, &str)]) -> Self {
        let path = directory.path();
        write_config(path, toml);
        let log = File::options().create(true).append(true).open(path.join("log")).expect("a log");
        let child = hubdns()
            .args(["serve", "--config"])
            .arg(path.join("hubdns.toml"))
            .env("HUBDNS_LISTEN", "127.0.0.1:0")
            .env("HUBDNS_ADMIN_LISTEN", "127.0.0.1:0")
            .env("HUBDNS_STATE_DIR", path.join("state"))
            .env("HUBDNS_CONTROL_SOCKET", path.join("control.sock"))
            .env("HUBDNS_WORKERS", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, directory, dns: none, admin: none }
    }

    /// Waits for `condition`; fails with the log when it does not come or the daemon ends.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "hubdns ended with {ended:?} before {what}:\n{}", self.log());
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until what is served is saved, which is a moment later; the set comes last.
    pub fn wait_for_save(&mut self) {
        self.wait_until("the set is saved", |daemon| {
            let directory = daemon.directory.path().join("state").read_dir();
            let is_set = |file: &Path| file.extension().is_some_and(|end| end == "set");
            directory.is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_set(&file.path()))))
        });
    }

    /// Waits for the end of the process.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "hubdns does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by its name (`HUP`, `TERM`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Replaces the configuration file; the daemon is not told.
    pub fn rewrite(&self, toml: &str) {
        write_config(self.directory.path(), toml);
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Asks the control socket; `None` if nothing answers.
    pub fn control(&self, method: &str, path: &str) -> Option<Answer> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        exchange(stream, method, path)
    }

    /// `/v1/status` of the control socket.
    pub fn status(&self) -> Value {
        let answer = self.control("GET", "/v1/status").expect("a status");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Asks the admin listener; `None` if nothing answers.
    pub fn http(&self, path: &str) -> Option<Answer> {
        let stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        exchange(stream, "GET", path)
    }

    /// Runs a command of the binary against this daemon.
    pub fn cli(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = hubdns();
        command.args(arguments).env("HUBDNS_CONTROL_SOCKET", self.socket());
        command.output().expect("the binary starts")
    }

    /// Asks by UDP; fails without an answer.
    pub fn ask(&self, name: &str, rtype: Rtype) -> Vec<u8> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        socket.connect(self.dns).expect("a route");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.send(&query(name, rtype)).expect("sent");
        let mut buf = [0; 4096];
        let len = socket.recv(&mut buf).expect("an answer");
        buf[..len].to_vec()
    }

    /// Asks by TCP on a new connection.
    pub fn ask_tcp(&self, name: &str, rtype: Rtype) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.dns).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let query = query(name, rtype);
        let mut framed = u16::try_from(query.len()).expect("a short query").to_be_bytes().to_vec();
        framed.extend_from_slice(&query);
        stream.write_all(&framed).expect("sent");
        let mut len = [0; 2];
        stream.read_exact(&mut len).expect("a length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(directory: &Path, toml: &str) {
    let toml = toml.replace("DIR", directory.to_str().expect("a plain path"));
    std::fs::write(directory.join("hubdns.toml"), toml).expect("a configuration file");
}

/// A query with RD and an EDNS OPT of 1232 bytes.
pub fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(name.as_wire());
    query.extend_from_slice(&rtype.0.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    query.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    query
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Option<Answer> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: hubdns\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
