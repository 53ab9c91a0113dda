//! evalctl finds out, on a team's own data, whether a workload can move from one language model to another.
//!
//! Modules stand on floors and import only from lower ones, always as `crate::module::…`; ARCHITECTURE.md says why and
//! `tests/it/floors.rs` checks it.

// Floor 0
pub mod util;
// Floor 1
pub mod types;
// Floor 2
pub mod cli;
pub mod price;
pub mod stats;
pub mod suite;
// Floor 3
pub mod dataset;
pub mod gate;
#[cfg(feature = "local")]
pub mod local;
pub mod provider;
pub mod store;
// Floor 4
pub mod frame;
pub mod scorer;
pub mod traffic;
// Floor 5
pub mod engine;
pub mod report;
// Floor 6
pub mod commands;
