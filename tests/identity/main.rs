//! As whom Azure is read: every credential against stand-ins on loopback,
//! tokens in the cache, the network beneath, permissions, `hubdns auth test`.

#![allow(unreachable_pub, dead_code, reason = "one binary whose modules share support")]

#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/estate.rs"]
mod estate;
#[path = "../common/upstream.rs"]
mod upstream;

mod arc;
mod cache;
mod certificate;
mod cli;
mod entra;
mod managed;
mod network;
mod review;
mod stand_in;
