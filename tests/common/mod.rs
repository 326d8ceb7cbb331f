//! Support for the tests: what several of them need.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod estate;
pub mod front;
pub mod golden;
pub mod load;
pub mod peer;
pub mod rig;
pub mod serving;
pub mod stream;
pub mod upstream;
