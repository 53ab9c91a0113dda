//! The suite file: what may be written (`spec`), reading it with positions (`parse`), and prompts (`prompt`).

pub mod spec;
pub mod values;

pub use spec::GateSpec;
