//! Names, error texts and values that are hostile, through every page, every
//! listing and every command that shows them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hubdns::admin::inventory::Inventory;
use hubdns::admin::path::{NamePath, Paths, RegistryPath, Word};
use hubdns::admin::view::cache::{CacheFlushed, CacheListing};
use hubdns::admin::view::sync::{GenerationRow, SyncDiff, SyncDone, SyncStatus};
use hubdns::admin::view::top::Top;
use hubdns::admin::view::{Explanation, FindingRow, RecordRow, Status};
use hubdns::admin::{self, CacheFilter, Control, ControlSocket, SyncOperation};
use hubdns::metrics::Exporter;
use hubdns::metrics::admin::AdminCounters;
use hubdns::outside::is_hidden;
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::daemon::{PATIENCE, hubdns};
use crate::stuffed::stuffed;

/// A daemon all of whose words are one text. Half of what can fail fails.
struct Hostile(Mutex<String>);

impl Hostile {
    fn text(&self) -> String {
        self.0.lock().expect("a text").clone()
    }

    fn full<T: serde::de::DeserializeOwned>(&self) -> T {
        stuffed(&self.text())
    }
}

impl Control for Hostile {
    fn admits(&self, _: IpAddr) -> bool {
        true
    }

    fn is_called(&self, _: &str) -> bool {
        false
    }

    fn scrape(&self) -> String {
        let (text, mut out) = (self.text(), Exporter::default());
        out.gauge("source_up", "Up.", &[("source", &text), ("kind", "x")], 1.0);
        out.counter("queries_total", "Queries.", &[("transport", &text)], 3);
        out.histogram("time_seconds", "Time.", &[("upstream", &text)], &[(0.1, 1)], 2, 0.5);
        out.encode()
    }

    fn unready(&self) -> Vec<String> {
        vec![self.text(), "draining".to_owned()]
    }

    fn status(&self) -> Status {
        self.full()
    }

    fn top(&self) -> Top {
        self.full()
    }

    fn records(&self) -> Vec<RecordRow> {
        self.full()
    }

    fn inventory(&self) -> Inventory {
        self.full()
    }

    fn findings(&self) -> Vec<FindingRow> {
        self.full()
    }

    fn explain(&self, name: &str, _: Option<&str>, _: Option<&str>) -> Result<Explanation, String> {
        if name == "wrong" { Err(self.text()) } else { Ok(self.full()) }
    }

    fn paths(&self, name: Option<&str>) -> Result<Paths, String> {
        if name.is_some() {
            return Err(self.text());
        }
        let text = || self.text();
        let word = Word { rank: text(), origin: text(), source: text(), because: text(), ..Word::default() };
        let name = NamePath { name: text(), private_link: text(), words: vec![word], ..NamePath::default() };
        let registry = RegistryPath { login: text(), ours: true, names: vec![name] };
        Ok(Paths { registries: vec![registry], ..Paths::default() })
    }

    fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        Err(vec![self.text()])
    }

    fn sync_status(&self) -> SyncStatus {
        self.full()
    }

    fn sync_diff(&self) -> SyncDiff {
        self.full()
    }

    fn sync_history(&self) -> Result<Vec<GenerationRow>, String> {
        Ok(self.full())
    }

    fn sync_operate(&self, operation: SyncOperation) -> Result<SyncDone, Vec<String>> {
        if operation == SyncOperation::Now { Ok(self.full()) } else { Err(vec![self.text()]) }
    }

    fn cache_list(&self, _: &CacheFilter, _: bool) -> Result<CacheListing, String> {
        Ok(self.full())
    }

    fn cache_flush(&self, _: &CacheFilter) -> Result<CacheFlushed, String> {
        Err(self.text())
    }
}

/// It, behind an admin listener and a control socket.
struct Rig {
    hostile: Arc<Hostile>,
    admin: SocketAddr,
    socket: ControlSocket,
    _runtime: Runtime,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let runtime = Runtime::new().expect("a runtime");
        let listeners = admin::bind(&["127.0.0.1:0".parse().expect("an address")]).expect("a listener");
        let address = listeners[0].local_addr().expect("an address");
        let socket = ControlSocket::bind(&directory.path().join("c"), None).expect("a control socket");
        let hostile = Arc::new(Hostile(Mutex::default()));
        let control: Arc<dyn Control> = hostile.clone();
        let counters = Arc::new(AdminCounters::default());
        let guard = runtime.enter();
        admin::start(listeners, &control, &counters).expect("started");
        admin::start_control(&socket, &control, &counters).expect("started");
        drop(guard);
        Self { hostile, admin: address, socket, _runtime: runtime, _directory: directory }
    }

    fn say(&self, text: &str) {
        text.clone_into(&mut self.hostile.0.lock().expect("a text"));
    }

    /// Content type and body of an admin path.
    fn page(&self, path: &str) -> (String, String) {
        let stream = TcpStream::connect(self.admin).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        exchange(stream, "GET", path)
    }

    /// The same of the control socket.
    fn control(&self, method: &str, path: &str) -> (String, String) {
        let stream = UnixStream::connect(self.socket.path()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        exchange(stream, method, path)
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> (String, String) {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).expect("a content type");
    (kind.to_owned(), body.to_owned())
}

/// What has been used against pages, listings, terminals and logs, and any other character.
fn text() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "</td></table><img src=x onerror=alert(1)>",
        "</style><style>*{background:url(//evil.example)}",
        "\" onmouseover=\"alert(1)",
        "' x='",
        "<!--",
        "]]>",
        "&lt;b&gt;",
        "&#60;",
        "`",
        "\\",
        "\\u003c",
        "{}",
        "\",\"own\":[\"",
        "} 1\nhubdns_build_info{",
        "\n",
        "\r\nset-cookie: a=b\r\n\r\n",
        "\t",
        "\0",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{7f}",
        "\u{85}",
        "\u{9b}31m",
        "\u{202e}gpj.exe",
        "\u{2066}\u{2069}",
        "\u{200b}",
        "\u{2028}",
        "\u{feff}",
        "2026-01-01T00:00:00Z ERROR forged",
        "contoso.azurecr.io",
    ]);
    let part = prop_oneof![3 => known.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

/// The tags of a page, in order, without those around commands.
fn tags(page: &str) -> Vec<&str> {
    let tags = page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or(rest));
    tags.filter(|tag| !matches!(*tag, "code" | "/code")).collect()
}

/// Nothing that acts on a terminal or cannot be seen, ends of lines aside.
fn check_visible(shown: &str, from: &str) {
    let found = shown.chars().find(|c| *c != '\n' && is_hidden(*c));
    assert_eq!(found, None, "{from}: {shown:?}");
}

/// Whether every string of `value` is `text`.
fn check_strings(value: &Value, text: &str, from: &str) {
    match value {
        Value::String(string) => assert_eq!(string, text, "{from}"),
        Value::Array(items) => items.iter().for_each(|item| check_strings(item, text, from)),
        Value::Object(fields) => fields.values().for_each(|field| check_strings(field, text, from)),
        _ => {}
    }
}

/// The listings and refusals of the control socket.
const LISTINGS: &[(&str, &str)] = &[
    ("GET", "/v1/status"),
    ("GET", "/v1/top"),
    ("GET", "/v1/records"),
    ("GET", "/v1/inventory"),
    ("GET", "/v1/findings"),
    ("GET", "/v1/explain?name=x"),
    ("GET", "/v1/explain?name=wrong"),
    ("GET", "/v1/paths?name=x"),
    ("GET", "/v1/sync/status"),
    ("GET", "/v1/sync/diff"),
    ("GET", "/v1/sync/history"),
    ("GET", "/v1/cache/list"),
    ("GET", "/v1/cache/show"),
    ("POST", "/v1/reload"),
    ("POST", "/v1/sync/now"),
    ("POST", "/v1/sync/accept"),
    ("POST", "/v1/cache/flush"),
];

#[test]
fn hostile_text_stays_text_on_every_page_and_in_every_listing() {
    let rig = Rig::start();
    rig.say("x");
    let harmless = rig.page("/").1;
    let (lines, kinds) = (rig.page("/metrics").1.lines().count(), tags(&harmless).len());
    assert!(kinds > 50 && lines > 5, "{harmless}");
    proptest!(ProptestConfig::with_cases(40), |(text in text())| {
        rig.say(&text);
        let (kind, page) = rig.page("/");
        prop_assert_eq!(&kind, "text/html; charset=utf-8");
        check_visible(&page, "page");
        prop_assert_eq!(tags(&page), tags(&harmless), "{}", page);

        let (kind, scrape) = rig.page("/metrics");
        prop_assert_eq!(&kind, "text/plain; version=0.0.4; charset=utf-8");
        check_visible(&scrape, "metrics");
        prop_assert_eq!(scrape.lines().count(), lines, "{}", scrape);

        let (kind, reasons) = rig.page("/readyz");
        prop_assert_eq!(&kind, "text/plain; charset=utf-8");
        check_visible(&reasons, "readyz");
        prop_assert_eq!(reasons.lines().count(), 2, "{}", reasons);

        let (kind, findings) = rig.page("/v1/findings");
        prop_assert_eq!(&kind, "application/json");
        check_visible(&findings, "findings");
        check_strings(&serde_json::from_str(&findings).expect("JSON"), &text, "findings");

        for &(method, path) in LISTINGS {
            let (kind, listing) = rig.control(method, path);
            prop_assert_eq!(&kind, "application/json", "{}", path);
            check_visible(&listing, path);
            let listing: Value = serde_json::from_str(&listing).expect("JSON");
            prop_assert_ne!(&listing, &Value::Null);
            check_strings(&listing, &text, path);
        }
        let (kind, paths) = rig.control("GET", "/v1/paths");
        prop_assert_eq!(&kind, "application/json");
        check_visible(&paths, "paths");
        prop_assert!(serde_json::from_str::<Value>(&paths).is_ok());
    });
}

/// Runs a command against the control socket at `socket`; all that it prints.
fn run(socket: &Path, arguments: &[&str]) -> String {
    let output = hubdns().args(arguments).env("HUBDNS_CONTROL_SOCKET", socket).output().expect("the binary");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat()
}

#[test]
fn hostile_text_stays_text_on_a_terminal() {
    let rig = Rig::start();
    rig.say("x");
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["findings"],
        &["findings", "--json"],
        &["records"],
        &["records", "--json"],
        &["explain", "contoso.azurecr.io"],
        &["explain", "contoso.azurecr.io", "--json"],
        &["explain", "wrong"],
        &["sync", "status"],
        &["sync", "status", "--json"],
        &["sync", "diff"],
        &["sync", "history"],
        &["sync", "now"],
        &["sync", "accept", "x"],
        &["cache", "list"],
        &["cache", "show", "contoso.azurecr.io"],
        &["cache", "flush", "--all"],
        &["reload"],
    ];
    let harmless: Vec<usize> =
        commands.iter().map(|command| run(rig.socket.path(), command).lines().count()).collect();
    for text in ["<b>\n2026-01-01 ERROR forged\r\n\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\0", "\"\u{2028}\u{200b}'"]
    {
        rig.say(text);
        for (command, lines) in commands.iter().zip(&harmless) {
            let printed = run(rig.socket.path(), command);
            check_visible(&printed, &command.join(" "));
            assert!(*lines > 0, "{command:?} says something");
            // The findings are wrapped to the terminal's width: long ones take more lines.
            if command[0] != "findings" || command.len() > 1 {
                assert_eq!(printed.lines().count(), *lines, "{command:?}: {printed}");
            }
        }
    }
}
