//! Packet workers without their sockets and threads: handlers over one snapshot.

use std::path::Path;
use std::sync::Arc;

use hubdns::config::Config;
use hubdns::forward::Settings;
use hubdns::metrics::queries::{Local, QueryMetrics, Shared};
use hubdns::resolve::Resolver;
use hubdns::serve::access::{Policies, Policy};
use hubdns::serve::udp::{Handler, Pending};
use hubdns::snapshot::publish::Publisher;
use hubdns::socket::UdpSocket;

/// Clients of either family within the prefixes that may ask by default. They
/// are told to a handler; no packet goes there.
pub const V4: &str = "10.8.0.1:4000";
pub const V6: &str = "[fd00:8::1]:4000";

/// What the handlers of a server share.
pub struct Workers {
    /// The socket of all batches, by which nothing is sent.
    pub socket: Arc<UdpSocket>,
    resolver: Resolver,
    publisher: Arc<Publisher>,
    policies: Arc<Policies>,
    shared: Shared,
    locals: Vec<Local>,
    _runtime: tokio::runtime::Runtime,
}

impl Workers {
    /// For so many handlers over a snapshot of so many `names`.
    pub fn new(names: usize, handlers: usize) -> Self {
        // A stand-in on loopback, which is never asked: nothing here is forwarded.
        let text = "[forward]\ndefault = \"none\"\n\
                    [[upstreams]]\nname = \"none\"\naddresses = [\"127.0.0.1:9\"]\n";
        let config = Config::parse(text, "bench.toml", Path::new("/")).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let publisher = Publisher::new(super::snapshot(names));
        let settings = Settings::new(&config, Vec::new());
        let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone());
        let (metrics, locals) = QueryMetrics::new(handlers);
        let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), false);
        Self {
            socket: Arc::new(socket.expect("a socket")),
            resolver: resolver.expect("a resolver"),
            publisher,
            policies: Policies::new(Policy::new(&config.server)),
            shared: metrics.shared(),
            locals,
            _runtime: runtime,
        }
    }

    /// The next handler.
    pub fn handler(&mut self) -> Handler {
        let local = self.locals.pop().expect("as many as were asked for");
        let (resolver, shared) = (self.resolver.clone(), self.shared.clone());
        Handler::new(resolver, &self.publisher, &self.policies, local, shared, Pending::default())
    }
}
