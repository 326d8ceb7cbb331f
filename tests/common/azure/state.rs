//! What all connections of the server share.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::entra::Tokens;
use super::estate::Estate;
use super::faults::Faults;
use super::log::Log;

/// Estate, faults, tokens and log.
pub struct State {
    pub estate: Mutex<Estate>,
    pub faults: Faults,
    pub tokens: Tokens,
    pub log: Log,
    pub gzip: AtomicBool,
}

impl State {
    pub fn new(estate: Estate) -> Self {
        Self {
            estate: Mutex::new(estate),
            faults: Faults::default(),
            tokens: Tokens::default(),
            log: Log::default(),
            gzip: AtomicBool::new(false),
        }
    }
}
