//! One request to one answer: prompt, tokens, text, one after another in the calling thread.
//!
//! An answer hangs on its request and the weights alone: nothing is shared between sequences, so what else the server
//! is doing changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use serde_json::json;

use crate::local::api::{ApiError, Format, Input, Request};
use crate::local::grammar::{GrammarError, Grammars, Next, Walk};
use crate::local::sample::{LogProbs, Sampler};
use crate::local::text::{Piece, Said, Text};
use crate::local::{Loaded, ModelError};
use crate::util::clock;

/// Prompt tokens that are read between two looks at whether anyone still waits.
const STRIDE: usize = 512;

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text, or the grammar has no more.
    Stop,
    /// Its limit or the context was reached.
    Length,
}

impl Finish {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, without the one that ended it.
    pub completion_tokens: usize,
}

/// Where an answer goes.
pub trait Listener {
    /// Takes a piece.
    fn hear(&mut self, piece: Piece);

    /// Whether nobody listens any more.
    fn is_gone(&self) -> bool;
}

/// Loaded weights with all that answers are made with.
pub struct Engine {
    loaded: Loaded,
    grammars: Grammars,
    unseeded: AtomicU64,
}

impl Engine {
    /// For loaded weights.
    ///
    /// # Errors
    /// When their tokens cannot be arranged for constrained decoding.
    pub fn new(loaded: Loaded) -> Result<Engine, GrammarError> {
        let grammars = Grammars::new(&loaded.model, &loaded.tokenizer)?;
        // Requests without a seed differ from each other and from one start of the server to the next.
        let start = clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Ok(Engine { loaded, grammars, unseeded: AtomicU64::new(start) })
    }

    /// The weights.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Answers a request, piece by piece.
    ///
    /// # Errors
    /// When the request cannot be answered, or the model fails.
    pub fn answer(&self, request: &Request, listener: &mut dyn Listener) -> Result<End, ApiError> {
        let Loaded { model, tokenizer, facts, .. } = &self.loaded;
        let prompt = self.prompt(&request.input)?;
        if prompt.len() >= facts.context {
            return Err(ApiError::context(request.input.param(), prompt.len(), facts.context));
        }
        let room = facts.context - prompt.len();
        let limit = request.max_tokens.unwrap_or(room).min(room);
        let mut walk = self.walk(&request.format, limit)?;
        let mut sampler = Sampler::new(request.sampling, self.unseeded.fetch_add(1, Ordering::Relaxed));
        let mut text = Text::new(request.stop.clone());
        let mut sequence = model.start();
        let mut logits = Vec::new();
        let mut end = End { finish: Finish::Length, prompt_tokens: prompt.len(), completion_tokens: 0 };
        for part in prompt.chunks(STRIDE) {
            if listener.is_gone() {
                return Ok(end);
            }
            logits = model.forward(&mut sequence, part).map_err(failed)?;
        }
        loop {
            let left = limit - end.completion_tokens;
            let next = match &mut walk {
                Some(walk) => walk
                    .next(&mut sampler, &logits, tokenizer.ends(), left)
                    .map_err(|error| ApiError::internal(error.to_string()))?,
                None => {
                    let draw = sampler.draw();
                    match sampler.pick(&logits, draw) {
                        Some(token) if tokenizer.is_end(token) => Next::End,
                        Some(token) => Next::Token(token),
                        None => return Err(ApiError::internal("the model gave no number for any token")),
                    }
                }
            };
            let Next::Token(token) = next else {
                end.finish = finish(walk.as_ref(), Finish::Stop);
                break;
            };
            end.completion_tokens += 1;
            let said = request.logprobs.map(|count| self.said(token, &logits, count));
            let bytes = if tokenizer.is_special(token) { &[] } else { tokenizer.bytes(token) };
            let piece = text.push(bytes, said);
            if !piece.is_empty() {
                listener.hear(piece);
            }
            if text.is_stopped() || walk.as_mut().is_some_and(Walk::is_whole) {
                end.finish = finish(walk.as_ref(), Finish::Stop);
                break;
            }
            if end.completion_tokens >= limit || listener.is_gone() {
                break;
            }
            logits = model.forward(&mut sequence, &[token]).map_err(failed)?;
        }
        let rest = text.finish();
        if !rest.is_empty() {
            listener.hear(rest);
        }
        Ok(end)
    }

    fn prompt(&self, input: &Input) -> Result<Vec<u32>, ApiError> {
        let Loaded { tokenizer, template, facts, .. } = &self.loaded;
        // A text that cannot fit is not cut into tokens first, which takes a hundred times its memory.
        let encode = |text: &str| match tokenizer.least(text) {
            least if least >= facts.context => Err(ApiError::far_too_long(input.param(), least, facts.context)),
            _ => Ok(tokenizer.encode(text)),
        };
        let tokens = match input {
            // The template writes the beginning itself.
            Input::Chat(messages) => {
                let text = template
                    .render(messages, None)
                    .map_err(|error| ApiError::invalid(input.param(), error.to_string()))?;
                encode(&text)?
            }
            Input::Text(text) => tokenizer.bos().into_iter().chain(encode(text)?).collect(),
        };
        if tokens.is_empty() {
            return Err(ApiError::invalid(input.param(), format!("`{}` is empty", input.param())));
        }
        Ok(tokens)
    }

    fn walk(&self, format: &Format, limit: usize) -> Result<Option<Walk>, ApiError> {
        let schema = match format {
            Format::Text => return Ok(None),
            Format::Object => &json!({"type": "object"}),
            Format::Schema(schema) => schema,
        };
        self.grammars.walk(schema, limit).map(Some).map_err(|error| {
            let message = format!("answers cannot be held to this schema: {error}");
            ApiError::invalid("response_format.json_schema.schema", message)
        })
    }

    fn said(&self, token: u32, logits: &[f32], count: usize) -> Said {
        let all = LogProbs::of(logits);
        let bytes = |id| self.loaded.tokenizer.bytes(id).to_vec();
        let top = all.top(count).into_iter().map(|(id, logprob)| (bytes(id), logprob)).collect();
        Said { bytes: bytes(token), logprob: all.token(token), top }
    }
}

/// An answer that was brought to an end because of its limit ended by its limit, whole though it is.
fn finish(walk: Option<&Walk>, finish: Finish) -> Finish {
    if walk.is_some_and(Walk::is_cut_short) { Finish::Length } else { finish }
}

fn failed(error: ModelError) -> ApiError {
    ApiError::internal(format!("the model failed: {error}"))
}
