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

/// Tokens as the service reported them, as far as they are believed. `None` means not reported, or contradicted by the
/// answer or by another count; it never means 0.
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
    /// All tokens, as the service adds them up. It is there until the counts are settled, which looks at it; no record
    /// keeps it.
    #[serde(skip)]
    pub total_tokens: Option<u64>,
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

    /// These counts with those of a later report in their place, where it has any. A later report of nothing but zeros does
    /// not take back counts: some services that report twice write 0 where they have nothing to add. Input and output are
    /// looked at apart, and a 0 beside other counts of the same side is one.
    #[must_use]
    pub fn updated(self, later: Usage) -> Usage {
        let input = |usage: &Usage| {
            [
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.cache_write_tokens,
                usage.cache_write_1h_tokens,
                usage.audio_input_tokens,
            ]
        };
        let output = |usage: &Usage| [usage.output_tokens, usage.reasoning_tokens, usage.audio_output_tokens];
        let [input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, audio_input_tokens] =
            newer(input(&self), input(&later));
        let [output_tokens, reasoning_tokens, audio_output_tokens] = newer(output(&self), output(&later));
        let [total_tokens] = newer([self.total_tokens], [later.total_tokens]);
        Usage {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            audio_input_tokens,
            output_tokens,
            reasoning_tokens,
            audio_output_tokens,
            total_tokens,
        }
    }

    /// Forgets the input tokens and all parts of them.
    pub fn forget_input(&mut self) {
        *self = Usage {
            input_tokens: None,
            cached_input_tokens: None,
            cache_write_tokens: None,
            cache_write_1h_tokens: None,
            audio_input_tokens: None,
            ..*self
        };
    }

    /// Forgets the output tokens and all parts of them.
    pub fn forget_output(&mut self) {
        *self = Usage { output_tokens: None, reasoning_tokens: None, audio_output_tokens: None, ..*self };
    }
}

/// Counts that belong together, with later ones in their place unless those are all 0.
fn newer<const N: usize>(earlier: [Option<u64>; N], later: [Option<u64>; N]) -> [Option<u64>; N] {
    let is_blank = later.iter().flatten().all(|count| *count == 0);
    std::array::from_fn(|place| {
        let (earlier, later) = (earlier[place], later[place]);
        if is_blank { earlier.or(later) } else { later.or(earlier) }
    })
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
    /// The service's own word for why the model stopped; `None` when it is the usual one (`stop`, `length`, `tool_calls`,
    /// `content_filter`) or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_raw: Option<String>,
    /// Tokens.
    #[serde(default)]
    pub usage: Usage,
    /// Why counts or a cost that the service reported are not believed and are missing here, with the figures that
    /// contradict each other; `None` when nothing was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_doubt: Option<String>,
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
    /// The service tier that answered, as the service names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Dollars that the service charged for it by its own account, or that the source of a recorded answer says it cost;
    /// `None` where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Decimal>,
    /// Places in its texts where a key stood and was taken out. What such an answer is worth cannot be said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys_replaced: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Response {
    /// Every text in it that the service wrote.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let calls = self.tool_calls.iter_mut().flat_map(|call| [&mut call.id, &mut call.name, &mut call.arguments]);
        let tokens = self.logprobs.iter_mut().map(|token| &mut token.token);
        let names = [&mut self.model_echo, &mut self.system_fingerprint, &mut self.service_tier, &mut self.finish_raw];
        let names = names.into_iter().flatten();
        [&mut self.text, &mut self.reasoning].into_iter().chain(calls).chain(tokens).chain(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_counts_replace_earlier_ones_unless_they_are_all_zero() {
        let usage = |input, cached, output| Usage {
            input_tokens: input,
            cached_input_tokens: cached,
            output_tokens: output,
            ..Usage::default()
        };
        let first = usage(Some(57), Some(40), Some(1));
        assert_eq!(first.updated(usage(Some(0), None, Some(5))), usage(Some(57), Some(40), Some(5)));
        assert_eq!(first.updated(usage(Some(0), Some(0), Some(0))), first);
        // A 0 beside other counts is one: of what was sent last, nothing came from the cache.
        assert_eq!(first.updated(usage(Some(181), Some(0), None)), usage(Some(181), Some(0), Some(1)));
        assert_eq!(Usage::default().updated(usage(Some(0), None, None)), usage(Some(0), None, None));
    }
}
