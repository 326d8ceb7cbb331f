//! hubdns answers Azure Container Registry private-link names from a record
//! set of its own and forwards every other query.
//!
//! # Two flows, one meeting point
//!
//! ```text
//! queries   serve ─▶ wire::Query ─▶ resolve: answer ──hit──▶ response in place ─▶ serve
//!                                     ▲        └─miss─▶ cache ▸ forward ▸ splice
//!                                     │ one immutable Snapshot, loaded once per batch
//!                              snapshot::publish
//!                                     ▲ whole or not at all
//! records   sources ─▶ sync (merge, guard, build, persist)
//! ```
//!
//! # What always holds
//!
//! 1. A published snapshot is built from complete listings, checked and
//!    immutable; readers see the old one or the new one, never a mixture.
//! 2. No failure of a source, the disk, an upstream or the clock takes away an
//!    answer that was good a moment ago.
//! 3. Starting needs neither a source nor an upstream.
//! 4. Everything that a client can make grow has a limit and a counter.
//! 5. No packet panics, loops, allocates without bound or logs above debug.
//! 6. No name or error text from outside becomes a metric label, and none
//!    reaches a page or a log unescaped.
//! 7. Closed by default: private and loopback prefixes may ask.
//! 8. The configuration is validated whole before it replaces the running one.
//! 9. `/readyz` fails only when draining, not listening, or when nothing was
//!    ever loaded.
//!
//! # Code map
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | DNS messages as bytes; pure |
//! | [`snapshot`] | the record set, compiled for answering; the only swap |
//! | [`answer`] | query + context + snapshot -> outcome; pure |
//! | [`resolve`] | answer, then cache, forward, splice: the one entry of every transport |
//! | [`serve`] | UDP workers, TCP, TLS, HTTPS, QUIC, PROXY headers, who may ask |
//! | [`socket`] | batched socket calls; the only home of `unsafe` |
//! | [`places`] | slots with names that are not used twice; what is due when |
//! | [`forward`] | rules, response cache, coalescing, upstream exchanges |
//! | [`sources`] | where records come from: facts in complete listings |
//! | [`sync`] | merge, guard, build, persist, publish |
//! | [`findings`] | what is wrong with the estate, and since when; pure |
//! | [`config`] | file text, validation, validated settings |
//! | [`metrics`], [`events`] | every metric; every operator event |
//! | [`outside`] | text from outside, made harmless for the place where it goes; pure |
//! | [`admin`] | `/metrics`, `/livez`, `/readyz`, the control socket |
//! | [`export`] | what is served, in the forms that other software reads; pure |
//! | [`daemon`] | startup order, runtimes, signals, drain |
//! | [`routes`] | whether answered addresses lead to the registries |
//! | [`doctor`] | walks the whole path and says which hop lies |
//! | [`cli`] | one file per command |

pub mod admin;
pub mod answer;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod events;
pub mod export;
pub mod findings;
pub mod forward;
pub mod metrics;
pub mod outside;
pub mod places;
pub mod resolve;
pub mod routes;
pub mod serve;
pub mod snapshot;
pub mod socket;
pub mod sources;
pub mod sync;
pub mod wire;
