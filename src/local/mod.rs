//! Weights in process: loading them, computing the next token, and an OpenAI-compatible server around it
//! (`evalctl serve`).
//!
//! [`Loaded::open`] takes a Hugging Face folder or a GGUF file and gives a [`Model`], a [`Tokenizer`] and a
//! [`ChatTemplate`]. The decoder is one for all families and for weights of every kind, plain and quantised, so that a
//! difference between two answers is a difference between weights. It doesn't batch: each [`Sequence`] is computed by
//! itself, so that what else is running cannot change an answer.
//!
//! [`Server`] stands on these. From the bottom up: `sample`, `text` and `shape` are pure; `grammar` holds an answer to a
//! schema; `generate` makes one answer of one request; `queue` spreads requests over workers; `api` and `answer` are
//! what goes in and out; `access` says who may ask; `server` has the routes.

mod access;
mod answer;
mod api;
mod attention;
mod block_rows;
mod blocks;
mod config;
mod endings;
mod float_rows;
mod folder;
mod generate;
mod gguf;
mod gguf_model;
mod gguf_tokenizer;
mod grammar;
mod input;
mod load;
mod matrix;
mod model;
mod ops;
mod queue;
mod rope;
mod safetensors;
mod sample;
mod server;
mod shape;
mod simd;
mod spm;
mod template;
mod text;
mod tokenizer;
mod weights;

pub use access::Access;
pub use config::FAMILIES;
pub use generate::Engine;
pub use grammar::GrammarError;
pub use load::{Facts, FileFact, LoadError, LoadOptions, Loaded};
pub use model::{Model, ModelError, Sequence};
pub use queue::Lanes;
pub use server::{GRACE, Server};
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::Tokenizer;

#[cfg(test)]
mod tests;
