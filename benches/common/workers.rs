//! Packet workers without their sockets and threads: handlers over one snapshot.

use std::path::Path;
use std::sync::Arc;

use hubdns::config::Config;
use hubdns::forward::Settings;
use hubdns::forward::cache::KeyRef;
use hubdns::forward::chain::Chain;
use hubdns::forward::entry::{Checked, Entry};
use hubdns::forward::reply::{self, Asked};
use hubdns::metrics::queries::{Local, QueryMetrics, Shared};
use hubdns::resolve::Resolver;
use hubdns::serve::access::{Policies, Policy};
use hubdns::serve::udp::{Handler, Pending};
use hubdns::snapshot::publish::Publisher;
use hubdns::socket::UdpSocket;
use hubdns::wire::message::Message;
use hubdns::wire::{Class, FoldedName, Rtype};

/// Clients of either family within the prefixes that may ask by default. They
/// are told to a handler; no packet goes there.
pub const V4: &str = "10.8.0.1:4000";
pub const V6: &str = "[fd00:8::1]:4000";

/// The workers' clock in the benches, milliseconds; three seconds later ...
pub const NOW: u64 = 1_000_000;
/// ... the cached responses are asked for.
pub const LATER: u64 = NOW + 3_000;

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

    /// The resolver that the handlers ask.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Keeps a response with one address in the cache for `qname`, as of [`NOW`].
    pub fn keep(&self, qname: &str) {
        let owner = super::name(qname);
        let asked = Asked { name: &owner, qtype: Rtype::A, qclass: Class::IN };
        let bytes = [
            &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0],
            owner.as_wire(),
            &[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1],
        ];
        let reply = reply::accept(&bytes.concat(), &asked).expect("a response");
        let chain = Chain::walk(&Message::parse(&reply.bytes).expect("a message"));
        let forwarder = self.resolver.forwarder();
        let tables = forwarder.tables().load();
        let entry = Entry::new(reply, chain, &tables.bounds, NOW, Checked { instance: 0, cut: None });
        let folded = FoldedName::from(&owner);
        let partition = tables.rules.find(&folded).expect("a rule").partition;
        let key = KeyRef::new(partition, &folded, Rtype::A, Class::IN, 0);
        assert!(forwarder.cache().insert(&key, &entry.kept(), NOW), "kept");
    }

    /// The next handler.
    pub fn handler(&mut self) -> Handler {
        let local = self.locals.pop().expect("as many as were asked for");
        let (resolver, shared) = (self.resolver.clone(), self.shared.clone());
        Handler::new(resolver, &self.publisher, &self.policies, local, shared, Pending::default())
    }
}
