//! Weights in process, and an OpenAI-compatible server around them (`evalctl serve`).
//!
//! From the bottom up: `sample`, `text` and `shape` are pure; `grammar` holds an answer to a schema; `generate` makes
//! one answer of one request; `queue` spreads requests over workers; `api` and `answer` are what goes in and out;
//! `server` has the routes. Nothing here batches sequences: an answer at temperature 0 does not hang on what else is
//! being answered.

mod answer;
mod api;
mod generate;
mod grammar;
mod queue;
mod sample;
mod server;
mod shape;
mod stub;
mod text;

pub use generate::Engine;
pub use grammar::GrammarError;
pub use queue::Lanes;
pub use server::{GRACE, Server};
pub use stub::{
    ChatTemplate, Facts, FileFact, LoadError, LoadOptions, Loaded, Model, ModelError, Sequence, TemplateError,
    Tokenizer,
};
