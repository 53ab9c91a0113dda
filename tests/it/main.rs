//! The one integration test binary: the program from its arguments to its files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test that cannot go on should stop here, and tests run servers and read clocks of their own"
)]

mod answered;
mod bad_input;
mod check;
mod commands;
mod crash;
mod damage;
mod dialects;
mod edges;
#[cfg(target_os = "linux")]
mod failing;
mod floors;
mod fuzzed;
mod gsm8k;
mod hostile;
mod http;
mod import;
mod keys;
mod limits;
#[cfg(feature = "local")]
mod local;
mod money;
mod price_sources;
mod prices;
mod probe;
mod processes;
mod promote;
mod provider;
mod readme;
mod replay;
#[cfg(feature = "local")]
mod serve;
mod services;
mod sizes;
mod support;
mod tls;
mod unreachable;
mod verdicts;
