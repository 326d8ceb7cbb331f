//! The words that tell counters of clients apart: each a closed set.

use crate::wire::DropReason;

/// Declares an enum of label values with its list and its labels.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label for metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels! {
    /// Why a query got no response.
    Dropped {
        /// Shorter than a header.
        Short "short",
        /// A response, which must never be answered.
        Response "response",
        /// From a client outside the allowed prefixes.
        Denied "denied",
        /// From source port 0, where nothing can be sent.
        PortZero "port_zero",
        /// Given up without an answer: too much else was waiting.
        Abandoned "abandoned",
        /// The TCP connection was gone when the answer was ready.
        ClientGone "client_gone",
        /// From a listed proxy, without a PROXY header that can be read, or with one from elsewhere.
        Proxy "proxy",
    }
}

labels! {
    /// What became of a PROXY header (version 2), or of its absence.
    ProxyHeader {
        /// It named a client.
        Named "named",
        /// It named none: the proxy asks on its own account.
        Local "local",
        /// It cannot be read, or is too long.
        Malformed "malformed",
        /// A listed proxy sent none.
        Missing "missing",
        /// Who sent it is not listed.
        Unlisted "unlisted",
    }
}

labels! {
    /// What a socket was asked to do when it failed.
    Operation {
        /// Receive a datagram.
        Receive "receive",
        /// Send a datagram.
        Send "send",
        /// Accept a connection.
        Accept "accept",
        /// Wait for sockets.
        Wait "wait",
    }
}

labels! {
    /// Why a connection was turned away.
    TurnedAway {
        /// Too many connections in all.
        Total "total",
        /// Too many connections of that client.
        Client "client",
        /// A client outside the allowed prefixes.
        Denied "denied",
    }
}

labels! {
    /// Why a connection ended.
    Ended {
        /// The client closed it.
        Client "client",
        /// No query within the idle timeout.
        Idle "idle",
        /// Older than the total timeout.
        Total "total",
        /// The client sent what is no query, or a message of no length.
        Protocol "protocol",
        /// The client did not take its answers in time.
        Stalled "stalled",
        /// The socket failed.
        Error "error",
        /// The server drains.
        Drained "drained",
        /// The client's prefix is no longer allowed.
        Denied "denied",
    }
}

labels! {
    /// How a TLS handshake went that succeeded.
    Handshake {
        /// With the certificate.
        Full "full",
        /// By a ticket.
        Resumed "resumed",
    }
}

labels! {
    /// Why there was no TLS connection.
    HandshakeFault {
        /// It took too long.
        Timeout "timeout",
        /// The client closed its connection.
        Closed "closed",
        /// What came is no TLS.
        NotTls "not_tls",
        /// No version, cipher suite or group that both sides have.
        Incompatible "incompatible",
        /// No application protocol (ALPN) that both sides have.
        Protocol "protocol",
        /// The client showed no certificate where one is required.
        CertificateMissing "certificate_missing",
        /// The client's certificate is not accepted.
        CertificateRefused "certificate_refused",
        /// The client said no: to our certificate, most often.
        Alert "alert",
        /// The PROXY header before it was missing or wrong.
        Proxy "proxy",
        /// Anything else.
        Other "other",
    }
}

labels! {
    /// The statuses of DNS over HTTPS.
    HttpStatus {
        /// A DNS message.
        Ok "200",
        /// The request holds no DNS message.
        BadRequest "400",
        /// The client's prefix is no longer allowed.
        Forbidden "403",
        /// Another path.
        NotFound "404",
        /// Neither GET nor POST.
        MethodNotAllowed "405",
        /// The body did not come in time.
        RequestTimeout "408",
        /// A body longer than a DNS message can be.
        PayloadTooLarge "413",
        /// A longer query than fits a URL.
        UriTooLong "414",
        /// A body that is no `application/dns-message`.
        UnsupportedMediaType "415",
        /// Given up: too much else was waiting, or the client takes no answers.
        Unavailable "503",
    }
}

impl HttpStatus {
    /// The number of it.
    pub const fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::PayloadTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::Unavailable => 503,
        }
    }
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::Short => Self::Short,
            DropReason::Response => Self::Response,
        }
    }
}
