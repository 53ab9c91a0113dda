//! The suite file: what may be written (`spec`), reading it with positions (`parse`), what must hold between its parts
//! (`rules`), prompts (`prompt`) and the JSON Schema for editors (`schema`).
//!
//! Nothing here opens a file, reads a variable or talks to a model; the commands do that with what is read here.

mod bounds;
mod comparisons;
mod de;
mod document;
mod keys;
mod mask;
mod mend;
mod node;
mod parse;
mod prompt;
mod rules;
mod schema;
pub mod spec;
mod template;
pub mod values;
mod words;

pub use document::Document;
pub use keys::{credentials_of, keys_of, keys_of_header};
pub use node::{Spot, Step};
pub use parse::{FileKind, MAX_BYTES, parse, parse_as};
pub use prompt::{Part, Prompt, PromptFault};
pub use rules::{BUILT_IN, check, is_share, names_variable};
pub use schema::suite_schema;
pub use spec::{GateSpec, Suite};
pub use template::{Filter, Template, TemplateFault, Variable};

/// A path into a suite: `at!["candidates", i, "openai"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { [$($crate::suite::Step::from($step)),*] };
}
pub(crate) use at;

#[cfg(test)]
mod tests;
