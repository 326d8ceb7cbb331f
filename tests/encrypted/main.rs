//! DNS over TLS, HTTPS and QUIC, and PROXY headers, over real sockets.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/daemon.rs"]
mod daemon;

mod caps;
mod certificates;
mod clients;
mod dot;
mod https;
mod pki;
mod proxy;
#[cfg(feature = "doq")]
mod quic;
mod rig;
mod whole;
