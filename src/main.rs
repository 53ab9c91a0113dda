//! The `evalctl` program.
fn main() {}
