//! A stand-in for registries: TLS with certificates of a test's own authority,
//! on one port of several loopback addresses, each with a behavior.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The head that a registry answers `GET /v2/` with.
pub const REGISTRY: &str = "HTTP/1.1 401 Unauthorized\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
    WWW-Authenticate: Bearer realm=\"https://contoso.azurecr.io/oauth2/token\"\r\nContent-Length: 0\r\n\r\n";
/// What a data endpoint says to whoever has no signed URL.
pub const BLOB: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
/// A web server that is no registry.
pub const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, directory }
    }

    /// Its certificate as a PEM file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What a server for `names` needs; `expired` for one that was valid once.
    pub fn server(&self, names: &[&str], expired: bool) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server");
        Arc::new(config)
    }
}

/// How one address behaves.
#[derive(Clone)]
pub enum Behavior {
    /// TLS, then this response to every request.
    Serve(Arc<ServerConfig>, &'static str),
    /// Accepts and says nothing.
    Silent,
    /// Accepts and closes.
    Hangup,
    /// Speaks no TLS.
    Plain,
}

/// Listeners on one port; they end when dropped.
pub struct Registries {
    /// The port.
    pub port: u16,
    behaviors: Vec<(Ipv4Addr, Arc<Mutex<Behavior>>)>,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
}

/// The loopback address 127.0.0.`last`.
pub const fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

impl Registries {
    /// Listens on 127.0.0.`last` for each pair.
    pub fn start(behaviors: Vec<(u8, Behavior)>) -> Self {
        let addresses: Vec<Ipv4Addr> = behaviors.iter().map(|(last, _)| loopback(*last)).collect();
        let (port, listeners) = bind(&addresses);
        let connections = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let mut held = Vec::new();
        for (listener, (last, behavior)) in listeners.into_iter().zip(behaviors) {
            let behavior = Arc::new(Mutex::new(behavior));
            held.push((loopback(last), Arc::clone(&behavior)));
            let (connections, stopping) = (Arc::clone(&connections), Arc::clone(&stopping));
            std::thread::spawn(move || accept(&listener, &behavior, &connections, &stopping));
        }
        Self { port, behaviors: held, connections, stopping }
    }

    /// Changes how 127.0.0.`last` behaves from the next connection on.
    pub fn change(&self, last: u8, behavior: Behavior) {
        let held = self.behaviors.iter().find(|(address, _)| *address == loopback(last)).expect("listening");
        *held.1.lock().expect("sound") = behavior;
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Registries {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for (address, _) in &self.behaviors {
            let _ = TcpStream::connect((*address, self.port));
        }
    }
}

/// One port on all addresses, and on none else.
fn bind(addresses: &[Ipv4Addr]) -> (u16, Vec<TcpListener>) {
    for _ in 0..100 {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("an address").port();
        let all: Result<Vec<_>, _> =
            addresses.iter().map(|address| TcpListener::bind((*address, port))).collect();
        if let Ok(all) = all {
            return (port, all);
        }
    }
    panic!("no port is free on all addresses");
}

fn accept(
    listener: &TcpListener,
    behavior: &Mutex<Behavior>,
    connections: &AtomicUsize,
    stopping: &AtomicBool,
) {
    // Connections that stay silent are kept open.
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        connections.fetch_add(1, Ordering::SeqCst);
        let behavior = behavior.lock().expect("sound").clone();
        match behavior {
            Behavior::Silent => kept.push(stream),
            Behavior::Hangup => drop(stream),
            Behavior::Plain => {
                std::thread::spawn(move || plain(stream));
            }
            Behavior::Serve(config, response) => {
                std::thread::spawn(move || serve(stream, config, response));
            }
        }
    }
}

fn plain(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, response: &str) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("get /v2/ http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: contoso"), "{head}");
    stream.write_all(response.as_bytes()).ok()?;
    stream.flush().ok()
}

/// One registry, `contoso`, as saved az output in `directory`: an interface with
/// its names and addresses, and a zone that says what `zone` says.
pub fn write_estate(directory: &Path, interface: &[(&str, Ipv4Addr)], zone: &[(&str, Ipv4Addr)]) {
    let pe = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network";
    let dns = format!("{pe}/privateDnsZones/privatelink.azurecr.io");
    let acr = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/contoso";
    let configurations: Vec<serde_json::Value> = interface
        .iter()
        .map(|(name, address)| {
            serde_json::json!({
                "id": format!("{pe}/networkInterfaces/nic-contoso/ipConfigurations/{name}"),
                "privateIPAddress": address.to_string(),
                "privateLinkConnectionProperties": {
                    "groupId": "registry", "requiredMemberName": "registry", "fqdns": [name],
                },
                "subnet": { "id": format!("{pe}/virtualNetworks/vnet/subnets/pe") },
                "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
            })
        })
        .collect();
    let nics = serde_json::json!([{
        "id": format!("{pe}/networkInterfaces/nic-contoso"),
        "type": "Microsoft.Network/networkInterfaces",
        "location": "westeurope",
        "privateEndpoint": { "id": format!("{pe}/privateEndpoints/pe-contoso") },
        "ipConfigurations": configurations,
    }]);
    let endpoints = serde_json::json!([{
        "id": format!("{pe}/privateEndpoints/pe-contoso"),
        "type": "Microsoft.Network/privateEndpoints",
        "location": "westeurope",
        "networkInterfaces": [{ "id": format!("{pe}/networkInterfaces/nic-contoso") }],
        "customDnsConfigs": [],
        "subnet": { "id": format!("{pe}/virtualNetworks/vnet/subnets/pe") },
        "manualPrivateLinkServiceConnections": [],
        "privateLinkServiceConnections": [{
            "privateLinkServiceId": acr,
            "groupIds": ["registry"],
            "privateLinkServiceConnectionState": { "status": "Approved" },
        }],
    }]);
    let registries = serde_json::json!([{
        "id": acr,
        "type": "Microsoft.ContainerRegistry/registries",
        "loginServer": "contoso.azurecr.io",
        "location": "westeurope",
        "dataEndpointHostNames": interface.iter().map(|(name, _)| name).filter(|name| name.contains(".data."))
            .collect::<Vec<_>>(),
        "privateEndpointConnections": [],
    }]);
    let zones = serde_json::json!([{
        "id": dns, "name": "privatelink.azurecr.io", "type": "Microsoft.Network/privateDnsZones",
    }]);
    let records: Vec<serde_json::Value> = zone
        .iter()
        .map(|(name, address)| {
            serde_json::json!({
                "id": format!("{dns}/A/{name}"), "name": name, "type": "Microsoft.Network/privateDnsZones/A",
                "fqdn": format!("{name}.privatelink.azurecr.io."), "ttl": 10,
                "aRecords": [{ "ipv4Address": address.to_string() }],
            })
        })
        .collect();
    let links = serde_json::json!([{
        "id": format!("{dns}/virtualNetworkLinks/hub"), "name": "hub",
        "type": "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        "virtualNetwork": { "id": format!("{pe}/virtualNetworks/vnet") },
    }]);
    std::fs::create_dir_all(directory).expect("a directory");
    let files = [
        ("nics", nics),
        ("endpoints", endpoints),
        ("registries", registries),
        ("zones", zones),
        ("records", serde_json::Value::Array(records)),
        ("links", links),
    ];
    for (name, value) in files {
        std::fs::write(directory.join(format!("{name}.json")), value.to_string()).expect("written");
    }
}

/// The socket address of 127.0.0.`last` on the registries' port.
pub fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((loopback(last), port))
}
