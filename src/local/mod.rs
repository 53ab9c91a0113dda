//! Weights in process: loading them, and computing the next token.
//!
//! [`Loaded::open`] takes a Hugging Face folder or a GGUF file and gives a [`Model`], a [`Tokenizer`] and a
//! [`ChatTemplate`]. The decoder is one for all families and for weights of every kind, plain and quantised, so that a
//! difference between two answers is a difference between weights. It doesn't batch: each [`Sequence`] is computed by
//! itself, so that what else is running cannot change an answer.

mod attention;
mod block_rows;
mod blocks;
mod config;
mod float_rows;
mod folder;
mod gguf;
mod gguf_model;
mod gguf_tokenizer;
mod input;
mod load;
mod matrix;
mod model;
mod ops;
mod rope;
mod safetensors;
mod simd;
mod spm;
mod template;
mod tokenizer;
mod weights;

pub use config::FAMILIES;
pub use load::{Facts, FileFact, LoadError, LoadOptions, Loaded};
pub use model::{Model, ModelError, Sequence};
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::Tokenizer;

#[cfg(test)]
mod tests;
