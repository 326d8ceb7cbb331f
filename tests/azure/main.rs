//! The live source from end to end: the scripted Azure over HTTPS, the sync,
//! and what is published. The daemon's own sockets are in `azure_daemon.rs`.

#[path = "../common/azure/mod.rs"]
mod azure;
mod estate;
mod faults;
mod rig;
