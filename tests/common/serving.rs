//! A whole server on loopback: record set, resolver, scripted upstream, ports.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hubdns::config::{self, Config};
use hubdns::forward::Settings;
use hubdns::resolve::Resolver;
use hubdns::serve::{Running, Server};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::publish::Publisher;
use hubdns::wire::Name;

use super::estate::{options, record_set};
use super::load::bound_client;

/// How long an answer is awaited before the test is given up as hanging.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What most tests hold.
pub const ESTATE: &str = "
    zone privatelink.azurecr.io
    contoso.privatelink.azurecr.io 10 A 10.0.0.5
    alias contoso.azurecr.io contoso.privatelink.azurecr.io
    own contoso.azurecr.io
";

/// A configuration that listens on `listen` and forwards to `upstream`.
pub fn config(listen: &[&str], upstream: SocketAddr) -> Config {
    let prefixes = ["127.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
    Config {
        server: config::Server {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            workers: 1,
            allow: prefixes.to_vec(),
            denied: config::Denied::Refuse,
            udp_max_bytes: 1232,
            edns: config::Edns::default(),
            state_dir: "/nonexistent".into(),
            keep_generations: 2,
            control_socket: None,
            control_group: None,
            drain: Duration::from_secs(5),
        },
        tcp: config::Tcp {
            max_connections: 100,
            max_connections_per_client: 50,
            max_queries_per_connection: 16,
            idle_timeout: PATIENCE,
            total_timeout: 2 * PATIENCE,
        },
        admin: config::Admin { listen: Vec::new(), allow: Vec::new(), hosts: Vec::new() },
        log: config::Log { format: config::LogFormat::Text, level: "info".into() },
        names: config::Names {
            suffixes: options().suffixes,
            zones: Vec::new(),
            answer: config::AnswerMode::Chain,
            own_missing: config::OwnMissing::Closed,
            own_registries: Vec::new(),
            ttl_floor: 0,
            ttl_cap: 86_400,
            interface_ttl: 10,
            special: config::Special {
                localhost: false,
                invalid: false,
                onion: false,
                resolver_arpa: false,
                private_reverse: false,
            },
        },
        scope: config::Scope { vnets: Vec::new(), allowed_prefixes: Vec::new(), regions: Vec::new() },
        sources: Vec::new(),
        forward: config::Forward {
            groups: vec![config::UpstreamGroup {
                name: "test".into(),
                upstreams: config::Upstreams::addresses(&[upstream]),
            }],
            rules: vec![config::ForwardRule { suffix: Name::root(), group: 0 }],
            fallback: None,
            client_deadline: PATIENCE,
            stale_after: Duration::from_millis(1800),
            resend_after: 100 * PATIENCE,
            exchange_deadline: 100 * PATIENCE,
            max_in_flight: 1000,
            max_waiters: 1000,
            max_waiters_per_client: 1000,
            udp_bytes: 1232,
            streams: config::Streams::default(),
            governor: config::Governor::default(),
        },
        cache: config::Cache {
            max_bytes: 1 << 20,
            min_ttl: 0,
            max_ttl: 86_400,
            max_negative_ttl: 3600,
            servfail_ttl: 5,
            max_stale: 0,
            stale_ttl: 30,
            stale_recheck: 30,
            max_renewals: 0,
            save: false,
        },
        ..Config::parse("", "test.toml", std::path::Path::new("/")).expect("the defaults")
    }
}

/// A running server.
pub struct Serving {
    pub running: Option<Running>,
    pub publisher: Arc<Publisher>,
    pub config: Config,
    pub runtime: tokio::runtime::Runtime,
}

impl Serving {
    /// Serves [`ESTATE`] as `config` says.
    pub fn start(config: Config) -> Self {
        Self::start_after(config, |_| {})
    }

    /// Serves [`ESTATE`] on one address, forwarding to a port where nobody listens.
    pub fn on(listen: &str) -> Self {
        Self::start(config(&[listen], closed()))
    }

    /// [`Serving::start`] that does `first` between binding and serving.
    pub fn start_after(config: Config, first: impl FnOnce(SocketAddr)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let publisher = Publisher::new(Snapshot::build(&record_set(ESTATE), &options(), 1));
        let bound = Server::bind(&config).unwrap();
        first(bound.local_addrs()[0]);
        let settings = Settings::new(&config, bound.local_addrs());
        let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
        let running = bound.start(&resolver, &publisher).unwrap();
        Self { running: Some(running), publisher, config, runtime }
    }

    /// The server at work.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("not stopped")
    }

    /// The first listen address; a wildcard one as the loopback address.
    pub fn address(&self) -> SocketAddr {
        let address = self.running().local_addrs()[0];
        match address.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
            IpAddr::V6(v6) if v6.is_unspecified() => ([0, 0, 0, 0, 0, 0, 0, 1], address.port()).into(),
            _ => address,
        }
    }

    /// Sends `query` over UDP and waits for a response from where it was sent.
    pub fn ask(&self, query: &[u8]) -> Vec<u8> {
        let client = self.client();
        client.send(query).unwrap();
        receive(&client).expect("a response")
    }

    /// A UDP socket connected to the server.
    pub fn client(&self) -> UdpSocket {
        bound_client(self.address())
    }

    /// A TCP connection to the server.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Drains, and tells whether nothing was left.
    pub fn drain(&self, limit: Duration) -> bool {
        self.runtime.block_on(self.running().drain(limit))
    }
}

/// The next response on a connected UDP socket.
pub fn receive(client: &UdpSocket) -> std::io::Result<Vec<u8>> {
    let mut buf = vec![0; 65_536];
    let len = client.recv(&mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

/// A loopback address where nobody listens.
pub fn closed() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Whether this machine has IPv6 on loopback.
pub fn has_ipv6() -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("SKIPPED: no IPv6 on loopback");
    }
    has
}
