//! A question to a model and its answer, in no provider's dialect.

use std::sync::Arc;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::{Row, TokenKind};

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the application.
    System,
    /// Instructions of the application, by the name some services now use.
    Developer,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Typed parts (text, images), passed through as they stand in the row.
    Parts(Vec<Value>),
    /// Nothing, as in an assistant message that only calls tools.
    Empty(()),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(default = "empty_content")]
    pub content: Content,
    /// Anything else the row's message carries (`tool_calls`, `tool_call_id`, `name`), passed through.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

fn empty_content() -> Content {
    Content::Empty(())
}

/// Sampling parameters. `None` leaves the choice to the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Sampling temperature; 0 asks for the likeliest token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling mass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Upper bound of generated tokens, reasoning included where the service counts it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Seed of the service's sampler, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts at which generation stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// `auto`, `none`, `required` or the service's object naming a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// The shape of the answer in the service's own words, passed through; it overrides `structured`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// Further fields of the request body, passed through as written (`chat_template_kwargs`, `reasoning_effort`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// One question, ready to be put into a dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation so far.
    pub messages: Arc<[Message]>,
    /// Tools the model may call: OpenAI's `tools` array.
    pub tools: Option<Arc<Value>>,
    /// JSON Schema of the wanted answer, when the candidate is to be asked for it.
    pub output_schema: Option<Arc<Value>>,
    /// Sampling parameters: the candidate's, overridden by the row's.
    pub params: Arc<Params>,
    /// The row the question was made from, for candidates that look answers up or are programs.
    pub row: Arc<Row>,
}

impl Request {
    /// Tokens that it will take, prompt and answer together, as far as can be told without a tokenizer: a third of its
    /// bytes, and the bound of the answer or [`Request::UNBOUNDED`]. For limits and reservations, which are put right
    /// when the answer says how many there were.
    pub fn tokens_at_most(&self) -> u64 {
        self.input_tokens_at_most() + self.output_tokens_at_most()
    }

    /// The part of [`Request::tokens_at_most`] that is the prompt's.
    pub fn input_tokens_at_most(&self) -> u64 {
        let texts = self.messages.iter().map(|message| {
            let content = match &message.content {
                Content::Text(text) => text.len(),
                Content::Parts(parts) => parts.iter().map(|part| part.to_string().len()).sum(),
                Content::Empty(()) => 0,
            };
            content
                + if message.more.is_empty() { 24 } else { 24 + Value::from(message.more.clone()).to_string().len() }
        });
        let written = |value: &Option<Arc<Value>>| value.as_ref().map_or(0, |value| value.to_string().len());
        (texts.sum::<usize>() + written(&self.tools) + written(&self.output_schema)) as u64 / 3 + 1
    }

    /// The part of [`Request::tokens_at_most`] that is the answer's. Bounds that `params.extra` sets by the names of
    /// services count, and so does a number of answers.
    pub fn output_tokens_at_most(&self) -> u64 {
        const BOUNDS: [&str; 7] = [
            "/max_tokens",
            "/max_completion_tokens",
            "/max_output_tokens",
            "/max_new_tokens",
            "/generationConfig/maxOutputTokens",
            "/inferenceConfig/maxTokens",
            "/options/num_predict",
        ];
        let own = self.params.max_output_tokens.map(u64::from);
        if self.params.extra.is_empty() {
            return own.unwrap_or(Request::UNBOUNDED);
        }
        let extra = Value::from(self.params.extra.clone());
        let number = |place: &&str| extra.pointer(place)?.as_u64();
        let bound = BOUNDS.iter().filter_map(number).max().or(own).unwrap_or(Request::UNBOUNDED);
        let answers = ["/n", "/generationConfig/candidateCount"].iter().filter_map(number).max().unwrap_or(1);
        bound.saturating_mul(answers.max(1))
    }

    /// Tokens that are taken for an answer without a bound.
    pub const UNBOUNDED: u64 = 4096;
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    Stop,
    /// It ran into the token limit: the answer is truncated.
    Length,
    /// It called tools.
    Tool,
    /// A content filter cut in.
    Filter,
    /// The service named another reason.
    Other,
}

/// Tokens as the service reported them. `None` means not reported, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, those read from and written to a cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The part of `input_tokens` read from the service's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// The part of `input_tokens` written to the service's cache, however long it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// The part of `cache_write_tokens` that is kept for an hour instead of minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of `input_tokens` that is sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_input_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The part of `output_tokens` spent on reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// The part of `output_tokens` that is sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output_tokens: Option<u64>,
}

impl Usage {
    /// The counts by kind.
    pub fn by_kind(&self) -> [(TokenKind, Option<u64>); 8] {
        [
            (TokenKind::Input, self.input_tokens),
            (TokenKind::CachedInput, self.cached_input_tokens),
            (TokenKind::CacheWrite, self.cache_write_tokens),
            (TokenKind::CacheWrite1h, self.cache_write_1h_tokens),
            (TokenKind::AudioInput, self.audio_input_tokens),
            (TokenKind::Output, self.output_tokens),
            (TokenKind::Reasoning, self.reasoning_tokens),
            (TokenKind::AudioOutput, self.audio_output_tokens),
        ]
    }

    /// These counts with those of a later report in their place, where it has any.
    #[must_use]
    pub fn updated(self, later: Usage) -> Usage {
        Usage {
            input_tokens: later.input_tokens.or(self.input_tokens),
            cached_input_tokens: later.cached_input_tokens.or(self.cached_input_tokens),
            cache_write_tokens: later.cache_write_tokens.or(self.cache_write_tokens),
            cache_write_1h_tokens: later.cache_write_1h_tokens.or(self.cache_write_1h_tokens),
            audio_input_tokens: later.audio_input_tokens.or(self.audio_input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            reasoning_tokens: later.reasoning_tokens.or(self.reasoning_tokens),
            audio_output_tokens: later.audio_output_tokens.or(self.audio_output_tokens),
        }
    }
}

/// A call of a tool, as the model asked for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The service's id of the call; empty when it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// The arguments as the model wrote them: meant to be JSON, not checked here.
    pub arguments: String,
}

/// A token of an answer and how likely the model held it to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// Its natural logarithm of probability.
    pub logprob: f64,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The visible answer.
    #[serde(default)]
    pub text: String,
    /// Reasoning that the service showed apart from the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// Tools called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why the model stopped; `None` when the service did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Tokens.
    #[serde(default)]
    pub usage: Usage,
    /// Whether the service says that the model refused; `text` is then what it said instead of an answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refusal: bool,
    /// The tokens of the answer with their log-probabilities, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// The model's name as the service gave it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_echo: Option<String>,
    /// The service's name for the build of weights and software that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// Dollars that the source of a recorded answer says it cost; `None` for live answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Decimal>,
}

impl Response {
    /// Every text in it that the service wrote.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let calls = self.tool_calls.iter_mut().flat_map(|call| [&mut call.id, &mut call.name, &mut call.arguments]);
        let tokens = self.logprobs.iter_mut().map(|token| &mut token.token);
        let names = self.model_echo.as_mut().into_iter().chain(self.system_fingerprint.as_mut());
        [&mut self.text, &mut self.reasoning].into_iter().chain(calls).chain(tokens).chain(names)
    }
}
