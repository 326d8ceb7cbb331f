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

mod cycle;
pub mod guard;
pub mod memory;
pub mod merge;
pub mod persist;
pub mod policy;
pub mod provenance;
pub mod special;
pub mod status;
pub mod watch;

pub use cycle::{Report, Sync, Trigger};
pub use status::{SourceStatus, State, Status};
