//! The quick start's configuration serves the example estate: every name of
//! the recorded estate's `expected`, by UDP and TCP, with and without EDNS;
//! and the saved set is served when everything else is gone.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use common::estate::{query, text};
use common::peer;
use common::upstream::{Act, Upstream, closed};
use daemon::{Daemon, PATIENCE};
use hubdns::answer::Transport;
use hubdns::wire::Rtype;
use serde_json::Value;

/// The file as it is compiled in, but for the upstream: a test asks nobody outside.
fn quick_start(upstream: std::net::SocketAddr) -> String {
    let toml =
        include_str!("../config/quickstart.toml").replace("default = \"system\"", "default = \"stand-in\"");
    assert!(toml.contains("stand-in"), "the quick start forwards to the host's resolvers");
    format!("{toml}\n[[upstreams]]\nname = \"stand-in\"\naddresses = [\"{upstream}\"]\n")
}

fn expected() -> Value {
    let text = include_str!("data/azure/composed/contoso-hub.json");
    let estate: Value = serde_json::from_str(text).expect("JSON");
    estate["expected"].clone()
}

fn private_name(public: &str) -> String {
    public.replace(".azurecr.io", ".privatelink.azurecr.io")
}

fn ask(daemon: &Daemon, qname: &str, qtype: Rtype, transport: Transport, edns: Option<u16>) -> String {
    let query = query(qname, qtype, 0x0100, edns);
    let response = match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.connect(daemon.dns).expect("a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            socket.send(&query).expect("sent");
            let mut buf = vec![0; 4096];
            let len = socket.recv(&mut buf).expect("an answer");
            buf.truncate(len);
            buf
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(daemon.dns).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).expect("sent");
            let mut len = [0; 2];
            stream.read_exact(&mut len).expect("a length");
            let mut buf = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut buf).expect("an answer");
            buf
        }
        other => unreachable!("nobody asks by {}", other.label()),
    };
    text(&response)
}

/// Asks in all four ways; they must agree.
fn ask_all_ways(daemon: &Daemon, qname: &str, qtype: Rtype) -> String {
    let first = ask(daemon, qname, qtype, Transport::Udp, None);
    for (transport, edns) in
        [(Transport::Udp, Some(1232)), (Transport::Tcp, None), (Transport::Tcp, Some(1232))]
    {
        assert_eq!(
            ask(daemon, qname, qtype, transport, edns),
            first,
            "{qname} {qtype} {transport:?} {edns:?}"
        );
    }
    first
}

/// Says "public" for all that gets there, TTL 0 so that nothing is cached.
fn public_upstream() -> Upstream {
    Upstream::start(|asked| Act::send(asked.reply(0, &format!("{} 0 A 203.0.113.9", asked.qname), "")))
}

#[test]
fn example_estate_is_served_as_recorded() {
    let upstream = public_upstream();
    let daemon = Daemon::start(&quick_start(upstream.address));
    let expected = expected();
    let from_nics = expected["from_nics"].as_object().expect("names");
    for (public, address) in from_nics {
        let address = address.as_str().expect("an address");
        let private = private_name(public);
        assert_eq!(
            ask_all_ways(&daemon, public, Rtype::A),
            format!("NOERROR | {public} 10 CNAME {private}.; {private} 10 A {address} | ")
        );
        assert_eq!(
            ask_all_ways(&daemon, &private, Rtype::A),
            format!("NOERROR aa | {private} 10 A {address} | "),
            "the interface wins over the zone"
        );
        let other = ask_all_ways(&daemon, public, Rtype::AAAA);
        assert!(other.starts_with(&format!(
            "NOERROR | {public} 10 CNAME {private}. | privatelink.azurecr.io 10 SOA "
        )));
    }
    let mut manual = 0;
    for (private, record) in expected["from_zone"].as_object().expect("names") {
        let public = private.replace(".privatelink.", ".");
        if from_nics.contains_key(&public) {
            continue;
        }
        manual += 1;
        let (addresses, ttl) = (record[0].as_str().expect("addresses"), record[1].as_u64().expect("a TTL"));
        let records: Vec<String> = addresses.split(',').map(|a| format!("{private} {ttl} A {a}")).collect();
        assert_eq!(
            ask_all_ways(&daemon, private, Rtype::A),
            format!("NOERROR aa | {} | ", records.join("; ")),
            "as the zone has it"
        );
        assert_eq!(
            ask_all_ways(&daemon, &public, Rtype::A),
            format!("NOERROR | {public} 0 A 203.0.113.9 | "),
            "no public alias: forwarded"
        );
    }
    assert_eq!(manual, 2, "contosomanual and contosoold");
}

#[test]
fn missing_replica_is_closed_and_others_are_forwarded() {
    let upstream = public_upstream();
    let daemon = Daemon::start(&quick_start(upstream.address));
    let closed = ask_all_ways(&daemon, "contosodev.eastus.data.azurecr.io", Rtype::A);
    assert!(
        closed.starts_with(
            "NXDOMAIN | contosodev.eastus.data.azurecr.io 10 CNAME contosodev.eastus.data.privatelink.azurecr.io. \
             | privatelink.azurecr.io 10 SOA azureprivatedns.net."
        ),
        "{closed}"
    );
    for foreign in ["contosobasic.azurecr.io", "contosopending.azurecr.io", "example.org"] {
        assert_eq!(
            ask_all_ways(&daemon, foreign, Rtype::A),
            format!("NOERROR | {foreign} 0 A 203.0.113.9 | ")
        );
    }
    let asked = upstream.seen();
    assert!(asked.iter().all(|asked| !asked.qname.starts_with("contosodev")), "names of ours never leave");
}

#[test]
fn same_by_dig() {
    let Some(dig) = peer::find("dig") else { return };
    let upstream = public_upstream();
    let daemon = Daemon::start(&quick_start(upstream.address));
    for arguments in
        [&["+notcp", "+noedns"][..], &["+notcp", "+edns=0"], &["+tcp", "+noedns"], &["+tcp", "+edns=0"]]
    {
        let ask = |name: &str| peer::dig(&dig, daemon.dns, &[&[name, "A"], arguments].concat());
        let expected = expected();
        let from_nics = expected["from_nics"].as_object().expect("names");
        for (public, address) in from_nics {
            let (private, address) = (private_name(public), address.as_str().expect("an address"));
            let chain = format!("NOERROR | {public}. 10 CNAME {private}. | {private}. 10 A {address}");
            assert_eq!(ask(public), chain);
            assert_eq!(ask(&private), format!("NOERROR | {private}. 10 A {address}"));
        }
        for (private, record) in expected["from_zone"].as_object().expect("names") {
            let public = private.replace(".privatelink.", ".");
            if !from_nics.contains_key(&public) {
                let addresses = record[0].as_str().expect("addresses").split(',');
                let lines: Vec<String> =
                    addresses.map(|a| format!("{private}. {} A {a}", record[1])).collect();
                assert_eq!(ask(private), format!("NOERROR | {}", lines.join(" | ")));
                assert_eq!(ask(&public), format!("NOERROR | {public}. 0 A 203.0.113.9"));
            }
        }
        let missing = "contosodev.eastus.data.azurecr.io";
        assert_eq!(ask(missing), format!("NXDOMAIN | {missing}. 10 CNAME {}.", private_name(missing)));
        for foreign in ["contosobasic.azurecr.io", "example.org"] {
            assert_eq!(ask(foreign), format!("NOERROR | {foreign}. 0 A 203.0.113.9"));
        }
    }
}

#[test]
fn saved_set_is_served_when_sources_and_upstream_are_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let estate = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/contoso");
    let copy = directory.path().join("estate");
    std::fs::create_dir(&copy).expect("made");
    for file in std::fs::read_dir(estate).expect("the estate") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
    }
    let toml = format!(
        "[[sources.az_json]]\nname = \"estate\"\npath = \"DIR/estate\"\n\
         [[upstreams]]\nname = \"dead\"\naddresses = [\"{}\"]\n[forward]\ndefault = \"dead\"\n",
        closed()
    );
    let mut daemon = Daemon::start_in(directory, &toml, &[]);
    let good = ask_all_ways(&daemon, "contosoprod.azurecr.io", Rtype::A);
    assert!(good.contains("10.20.0.5"), "{good}");
    daemon.signal("TERM");
    daemon.wait_for_end();
    // Now every file is cut off in the middle.
    for file in std::fs::read_dir(&copy).expect("the copy") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("cut");
    }
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().expect("a directory"));
    drop(daemon);
    let mut again = Daemon::start_in(directory, &toml, &[]);
    assert_eq!(ask_all_ways(&again, "contosoprod.azurecr.io", Rtype::A), good);
    assert_eq!(
        ask_all_ways(&again, "contosodev.eastus.data.azurecr.io", Rtype::A).split(' ').next(),
        Some("NXDOMAIN")
    );
    again.wait_until("the source has failed", |daemon| daemon.log().contains("sync failed"));
    assert_eq!(
        ask_all_ways(&again, "contosoprod.azurecr.io", Rtype::A),
        good,
        "a failed source takes nothing away"
    );
    let failed = ask(&again, "example.org", Rtype::A, Transport::Udp, Some(1232));
    assert!(failed.starts_with("SERVFAIL"), "{failed}");
}
