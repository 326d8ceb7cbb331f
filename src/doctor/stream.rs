//! Upstreams over TCP, TLS and HTTPS, asked as the forwarder asks them: by its
//! own connections, so that what is seen here is what it meets. One connection
//! carries all questions to an upstream; whoever comes first opens it, and if
//! that fails the others do not try again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use crate::admin::path::UpstreamRow;
use crate::config::{self, UpstreamTransport};
use crate::forward::reply::UpstreamReply;
use crate::forward::streams::{StreamError, Streams};
use crate::forward::upstream::Upstream;
use crate::metrics::forward::ForwardMetrics;
use crate::metrics::streams::StreamFault;
use crate::routes::dns::{Answer, Question};

/// The upstream of `row`; `None` if another version wrote it, which knows more
/// transports.
pub(super) fn upstream(row: &UpstreamRow) -> Option<Arc<Upstream>> {
    let named = |transport: &UpstreamTransport| transport.label() == row.transport;
    let transport = match row.transport.as_str() {
        "" => UpstreamTransport::Udp,
        _ => UpstreamTransport::ALL.into_iter().find(named)?,
    };
    let filled = |text: &String| (!text.is_empty()).then(|| text.clone());
    Some(Upstream::new(config::Upstream {
        transport,
        name: filled(&row.name),
        path: row.path.clone(),
        pins: row.pins.iter().map(|pin| pin.parse()).collect::<Result<_, ()>>().ok()?,
        ca_file: filled(&row.ca_file).map(Into::into),
        ..config::Upstream::from(row.address)
    }))
}

/// Asks upstreams that are not asked over UDP.
pub(super) struct Connections {
    streams: Streams,
    timeout: Duration,
    /// How long the first connection to each took.
    opened: HashMap<Arc<Upstream>, OnceCell<Result<Duration, StreamError>>>,
}

impl Connections {
    /// Within a runtime. A connection may take `timeout`, and an answer too.
    pub(super) fn new(upstreams: impl IntoIterator<Item = Arc<Upstream>>, timeout: Duration) -> Self {
        let limits = config::Streams { connect: timeout, ..config::Streams::default() };
        // Counters of its own: what doctor asks is no traffic of clients.
        let metrics = Arc::new(ForwardMetrics::default());
        let streams = Streams::new(Handle::current(), metrics, limits);
        let opened = upstreams.into_iter().map(|upstream| (upstream, OnceCell::new())).collect();
        Self { streams, timeout, opened }
    }

    /// How long it takes to connect: TCP, and what TLS and HTTP/2 need before
    /// the first question.
    pub(super) async fn connect(&self, upstream: &Arc<Upstream>) -> Result<Duration, StreamError> {
        let connect = || async {
            let start = Instant::now();
            self.streams.connect(upstream, start + self.timeout).await?;
            Ok(start.elapsed())
        };
        match self.opened.get(upstream) {
            Some(opened) => opened.get_or_init(connect).await.clone(),
            None => connect().await,
        }
    }

    /// The answer to `question`, and how long it took on the open connection.
    pub(super) async fn ask(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
    ) -> Result<Answer, StreamError> {
        self.connect(upstream).await?;
        let start = Instant::now();
        let query = question.to_wire(0);
        let reply = self.streams.exchange(upstream, query, start + self.timeout).await?;
        let answer = read(&reply, question);
        let mut answer =
            answer.ok_or(StreamError { fault: StreamFault::Malformed, detail: String::new() })?;
        answer.took = start.elapsed();
        Ok(answer)
    }
}

/// One question over a connection of its own; `None` if there is no answer.
pub(crate) async fn ask_once(
    upstream: Arc<Upstream>,
    question: Question,
    timeout: Duration,
) -> Option<Answer> {
    Connections::new([], timeout).ask(&upstream, &question).await.ok()
}

/// What was taken off the message by then, put back.
fn read(reply: &UpstreamReply, question: &Question) -> Option<Answer> {
    let mut answer = Answer::read(&reply.bytes, question)?;
    answer.rcode = reply.rcode;
    answer.extended_errors = extended_errors(&reply.ede);
    Some(answer)
}

/// Codes and texts of extended errors, from options in wire form.
fn extended_errors(mut options: &[u8]) -> Vec<(u16, String)> {
    let mut errors = Vec::new();
    while let Some(([_, _, high, low], rest)) = options.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((data, rest)) = rest.split_at_checked(len) else { break };
        if let Some((code, text)) = data.split_first_chunk::<2>() {
            errors.push((u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()));
        }
        options = rest;
    }
    errors
}

/// The fault in one word for programs; where a check of a way has the same, its word.
pub(super) const fn word(fault: StreamFault) -> &'static str {
    match fault {
        StreamFault::Refused => "refused",
        StreamFault::ConnectTimeout => "connect-timeout",
        StreamFault::Unreachable => "unreachable",
        StreamFault::Trust => "no-trust",
        StreamFault::Certificate => "certificate",
        StreamFault::Pin => "pin",
        StreamFault::Tls => "tls",
        StreamFault::Alpn => "no-http2",
        StreamFault::Lost => "lost",
        StreamFault::Timeout => "silent",
        StreamFault::HttpStatus => "http-status",
        StreamFault::ContentType => "content-type",
        StreamFault::TooLarge => "too-large",
        StreamFault::Malformed => "malformed",
        StreamFault::Busy => "busy",
        StreamFault::BackOff => "back-off",
        StreamFault::OverBudget => "over-budget",
    }
}

/// What an operator can do about it.
pub(super) fn advice(fault: StreamFault, upstream: &Upstream) -> String {
    let port = upstream.address().port();
    match fault {
        StreamFault::Refused => format!(
            "Nobody listens at TCP port {port}. Ports are 53 for tcp, 853 for tls and 443 for https where the \
             configuration has none."
        ),
        StreamFault::ConnectTimeout | StreamFault::Unreachable => format!(
            "Let TCP port {port} through to it: look for routes, network security groups and firewalls."
        ),
        StreamFault::Trust => "Install the system's CA certificates (ca-certificates), or set the upstream's \
                               ca_file to a file that the service may read."
            .to_owned(),
        StreamFault::Certificate => {
            let wanted = upstream.settings().name.as_deref();
            format!(
                "The certificate must hold {}, by an authority that the upstream's ca_file or the system \
                 trusts. A proxy that breaks TLS open shows one of its own: exempt the upstream from inspection.",
                wanted.map_or_else(|| upstream.address().ip().to_string(), str::to_owned)
            )
        }
        StreamFault::Pin => "If whoever runs the upstream confirms that its key is new, add it to the upstream's \
                             pins; otherwise somebody else answers there."
            .to_owned(),
        StreamFault::Tls => {
            format!("What answers at port {port} speaks no TLS 1.2 or 1.3, or a firewall on the way stops it.")
        }
        StreamFault::Alpn => "DNS over HTTPS needs HTTP/2 (h2) here: switch it on there, or ask by tls://.".to_owned(),
        StreamFault::Lost | StreamFault::Timeout | StreamFault::Malformed => {
            "It accepts connections and gives no answer that can be read: see its own log, whether it serves DNS \
             there, and whether it recurses for this host."
                .to_owned()
        }
        StreamFault::HttpStatus | StreamFault::ContentType | StreamFault::TooLarge => format!(
            "Compare the URL's path, which is {}, with the upstream's documentation; see its own log.",
            upstream.settings().path
        ),
        StreamFault::Busy | StreamFault::BackOff | StreamFault::OverBudget => "Run it again.".to_owned(),
    }
}

/// By what it has proved who it is, as the beginning of a sentence.
pub(super) fn proved(upstream: &Upstream) -> &'static str {
    let settings = upstream.settings();
    match (settings.transport.is_encrypted(), settings.is_key_enough(), settings.pins.is_empty()) {
        (false, _, _) => "",
        (true, true, _) => "pinned key right; ",
        (true, false, false) => "certificate and pinned key right; ",
        (true, false, true) => "certificate right; ",
    }
}

/// The transport for people, and the step of its times.
pub(super) const fn transport(transport: UpstreamTransport) -> (&'static str, &'static str) {
    match transport {
        UpstreamTransport::Udp => ("UDP", "udp"),
        UpstreamTransport::Tcp => ("TCP", "tcp"),
        UpstreamTransport::Tls => ("TLS", "tls"),
        UpstreamTransport::Https => ("HTTPS", "https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lead_to_the_upstreams_they_came_from() {
        let row = UpstreamRow {
            group: "g".to_owned(),
            address: "192.0.2.1:853".parse().unwrap(),
            transport: "tls".to_owned(),
            name: "dns.example".to_owned(),
            path: String::new(),
            pins: vec!["FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAVI=".to_owned()],
            ca_file: "/etc/ca.pem".to_owned(),
            fallback: false,
        };
        let found = upstream(&row).unwrap();
        assert_eq!(
            found.settings().identity(),
            "tls://192.0.2.1:853 name=dns.example pins=FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAVI= \
             ca_file=/etc/ca.pem"
        );
        assert_eq!(UpstreamRow::new("g", found.settings(), false), row);
        let plain =
            UpstreamRow { transport: String::new(), name: String::new(), pins: Vec::new(), ..row.clone() };
        assert!(!upstream(&plain).unwrap().is_stream());
        assert!(upstream(&UpstreamRow { transport: "quic".to_owned(), ..row }).is_none());
    }

    #[test]
    fn extended_errors_are_read_from_options() {
        let options = [0, 15, 0, 2, 0, 6, 0, 15, 0, 5, 0, 22, b'n', b'o', b'!', 0, 15, 0, 9, 0, 1];
        assert_eq!(extended_errors(&options), [(6, String::new()), (22, "no!".to_owned())]);
    }
}
