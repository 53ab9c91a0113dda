//! Logged traffic: logs of many kinds become captures, JSON Lines of [`Exchange`](crate::types::Exchange)s in the order of
//! arrival, with an account of every row.
//!
//! An importer is pure: a row goes in, an exchange or a reason comes out. [`import`] reads files piece by piece, settles
//! what all exchanges have in common, redacts, sorts and writes; nothing that it holds grows with the file but 16 bytes an
//! id. What is done with a capture (replay, run) is not known here.

mod answer;
mod batch;
mod chat;
mod choose;
mod digests;
mod draft;
mod goreplay;
mod har;
mod helicone;
mod http;
mod kind;
mod langfuse;
pub mod ledger;
mod litellm;
mod made;
mod messages;
mod otel;
mod own;
mod pass;
mod read;
pub mod redact;
mod request;
mod sort;
pub mod time;
mod traces;

pub use choose::{Folds, Stratum, asked};
pub use kind::Kind;
pub use own::Captured;
pub use pass::{Import, ImportError, Sample, beside, import, spool_of};
pub use sort::is_spool;
