//! Views of a running daemon: two endpoints serve one registry, and clients
//! get the one of their prefix over UDP and TCP, directly and behind a chain
//! that an upstream begins.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::process::Output;

use common::estate::text;
use common::upstream::{Act, Upstream};
use daemon::{Daemon, PATIENCE, query};
use hubdns::wire::Rtype;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// The interface of an endpoint in network `vnet`.
fn interface(id: &str, vnet: &str, address: &str) -> Value {
    let id = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/{id}");
    json!({
        "id": id,
        "location": "westeurope",
        "type": "Microsoft.Network/networkInterfaces",
        "ipConfigurations": [{
            "id": format!("{id}/ipConfigurations/one"),
            "privateIPAddress": address,
            "privateLinkConnectionProperties": {
                "fqdns": ["contoso.azurecr.io"], "groupId": "registry", "requiredMemberName": "registry"
            },
            "subnet": {"id": format!("{}/subnets/pe", network(vnet))}
        }]
    })
}

fn network(vnet: &str) -> String {
    format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/{vnet}")
}

fn start(upstream: &Upstream) -> Daemon {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let interfaces = json!([interface("hub", "hub", "10.0.0.5"), interface("spoke", "spoke", "10.8.0.5")]);
    std::fs::write(directory.path().join("nics.json"), interfaces.to_string()).expect("a file");
    let toml = format!(
        "[[sources.az_json]]\nname = \"estate\"\npath = \"DIR/nics.json\"\n\
         [[views]]\nname = \"spokes\"\nclients = [\"127.0.0.2/32\"]\nvnets = [\"{}\"]\n\
         [[upstreams]]\nname = \"scripted\"\naddresses = [\"{}\"]\n[forward]\ndefault = \"scripted\"\n",
        network("spoke"),
        upstream.address,
    );
    Daemon::start_in(directory, &toml, &[])
}

fn ask_udp(daemon: &Daemon, client: &str, name: &str) -> String {
    let socket = UdpSocket::bind((client, 0)).expect("a socket");
    socket.connect(daemon.dns).expect("a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send(&query(name, Rtype::A)).expect("sent");
    let mut buf = [0; 4096];
    let len = socket.recv(&mut buf).expect("an answer");
    text(&buf[..len])
}

fn ask_tcp(daemon: &Daemon, client: &str, name: &str) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let client: std::net::SocketAddr = format!("{client}:0").parse().expect("an address");
    socket.bind(&client.into()).expect("bound");
    socket.connect(&daemon.dns.into()).expect("a connection");
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let query = query(name, Rtype::A);
    let framed = [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], &query].concat();
    stream.write_all(&framed).expect("sent");
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).expect("an answer");
    text(&answer)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn clients_get_the_endpoint_of_their_prefix_whatever_the_transport() {
    let upstream = Upstream::start(|asked| {
        Act::send(asked.reply(0, "registry.example.org 300 CNAME contoso.azurecr.io", ""))
    });
    let daemon = start(&upstream);
    for name in ["contoso.azurecr.io", "contoso.privatelink.azurecr.io", "registry.example.org"] {
        for _ in 0..2 {
            for (client, address) in [("127.0.0.1", "10.0.0.5"), ("127.0.0.2", "10.8.0.5")] {
                for answer in [ask_udp(&daemon, client, name), ask_tcp(&daemon, client, name)] {
                    let end = format!("contoso.privatelink.azurecr.io 10 A {address} | ");
                    assert!(answer.ends_with(&end), "{name} for {client}: {answer}");
                }
            }
        }
    }
    assert_eq!(upstream.times_asked("registry.example.org"), 1, "the cache knows no views");
}

#[test]
fn records_and_explanations_show_views() {
    let upstream = Upstream::start(|_| Act::Drop);
    let daemon = start(&upstream);
    let table = stdout(&daemon.cli(&["records", "--type", "A"]));
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][3..5], ["DATA", "VIEW"], "{table}");
    assert_eq!(lines[1][3..5], ["10.0.0.5", "-"], "{table}");
    assert_eq!(lines[2][3..5], ["10.8.0.5", "spokes"], "{table}");
    assert!(lines[2].last().expect("a word").contains("/spoke/"), "{table}");

    let rows: Value = serde_json::from_str(&stdout(&daemon.cli(&["records", "--json"]))).expect("JSON");
    assert_eq!(rows[0]["variants"][0]["view"], "spokes");
    assert_eq!(rows[0]["variants"][0]["data"], json!(["10.8.0.5"]));

    let explain = |client: &[&str]| {
        let arguments = [&["explain", "contoso.azurecr.io"], client].concat();
        stdout(&daemon.cli(&arguments))
    };
    let usual = explain(&[]);
    assert!(usual.contains("A 10.0.0.5") && !usual.contains(";; client"), "{usual}");
    let spoke = explain(&["--client", "127.0.0.2"]);
    assert!(spoke.contains(";; client: 127.0.0.2, view spokes\n"), "{spoke}");
    assert!(spoke.contains("IN A 10.8.0.5\n"), "{spoke}");
    assert!(spoke.contains("to clients of view spokes: 10.8.0.5"), "{spoke}");
    assert!(spoke.contains("but clients get it of view spokes"), "{spoke}");
    assert!(explain(&["--client", "127.0.0.9"]).contains(";; client: 127.0.0.9, no view\n"));
    let bad = daemon.control("GET", "/v1/explain?name=contoso.azurecr.io&client=nobody").expect("an answer");
    assert_eq!(bad.status, 400, "{bad:?}");
}
