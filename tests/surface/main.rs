//! The surface that operators see, as somebody sees it who means harm: the
//! admin listeners, the control socket and the command line.

#[path = "../common/daemon.rs"]
mod daemon;

mod hostile;
mod http;
mod stuffed;
mod users;
