//! From listings to the published snapshot: one cycle is read, merge, guard,
//! build, save, publish.
//!
//! ```text
//! sources ─▶ last complete listings ─▶ merge ─▶ guard ─▶ build ─▶ save ─▶ publish
//!                    ▲                   ▲  memory        ▲ what is published
//!                    └── saved facts ────┴────────────────┘
//! ```
//!
//! [`Sync::start`] publishes the saved set before any source is read; the
//! thread of [`watch::spawn`] then runs the cycles. A source that fails keeps
//! its last complete listing, a save that fails is told and vetoes nothing,
//! and equal data is no change: the generation stays, nothing is written.

mod alerts;
mod asked;
pub mod clock;
mod cycle;
pub mod diff;
pub mod findings;
pub mod guard;
pub mod memory;
pub mod merge;
mod operate;
pub mod persist;
pub mod policy;
pub mod provenance;
mod reading;
mod show;
pub mod special;
mod start;
pub mod status;
mod store;
pub mod watch;

pub use cycle::{Report, Sync, Trigger};
pub use operate::{Operation, Outcome};
pub use status::{FailureStatus, ListingStatus, SourceStatus, State, Status};
