//! Things that come and go in places that are used again: connections of
//! clients, exchanges with upstreams.
//!
//! [`Slots`] holds them under names that are not used twice, [`Wheel`] tells
//! when which place is to be looked at. Both take a few instructions per step
//! and allocate only to grow.

pub mod slots;
mod wheel;

pub use slots::Slots;
pub use wheel::Wheel;
